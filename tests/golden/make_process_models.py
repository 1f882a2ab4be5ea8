"""Make tiny random models of processes of their own: tests/golden/models/{tiny-inpaint,tiny-lcm}.

    V/bin/python tests/golden/make_process_models.py        (V: a virtual environment with tests/golden/requirements.txt)
"""
import json

import make_tiny_models as tiny
import torch

CLASSES = {"tiny-inpaint": "StableDiffusionInpaintPipeline", "tiny-lcm": "LatentConsistencyModelPipeline"}
MODELS = {
    # 9 input channels; predicts v from zero terminal SNR on
    "tiny-inpaint": {
        "dtype": torch.float16,
        "text": dict(hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4, hidden_act="quick_gelu"),
        "unet": dict(in_channels=9, out_channels=4, block_out_channels=(16, 24), layers_per_block=1, attention_head_dim=4,
                     cross_attention_dim=32, norm_num_groups=8, down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
                     up_block_types=("UpBlock2D", "CrossAttnUpBlock2D")),
        "vae": dict(block_out_channels=(8, 12, 16), layers_per_block=1, norm_num_groups=4, scaling_factor=0.4),
        "scheduler": dict(steps_offset=1, prediction_type="v_prediction", rescale_betas_zero_snr=True, set_alpha_to_one=True),
    },
    # told its guidance beside the timestep, by 25 numbers (odd: the last is padding)
    "tiny-lcm": {
        "dtype": torch.float16,
        "text": dict(hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2, hidden_act="quick_gelu"),
        "unet": dict(block_out_channels=(16, 24), layers_per_block=1, attention_head_dim=(2, 4), cross_attention_dim=32,
                     norm_num_groups=4, down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
                     up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D"), time_cond_proj_dim=25),
        "vae": dict(block_out_channels=(8, 12), layers_per_block=1, norm_num_groups=4, scaling_factor=0.5),
        "scheduler": dict(steps_offset=1, prediction_type="epsilon", original_inference_steps=50, timestep_scaling=10.0,
                          clip_sample=False, set_alpha_to_one=True, rescale_betas_zero_snr=False),
    },
}

if __name__ == "__main__":
    tiny.MODELS = MODELS
    tiny.main()
    for name, pipeline in CLASSES.items():
        path = tiny.HERE / "models" / name / "model_index.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"_class_name": pipeline}, indent=2, sort_keys=True) + "\n")
