# schedules, configs, models, renderers
seedfarm_test(test_schedule unit test_schedule.c LINK denoise base PkgConfig::JANSSON m)
seedfarm_test(test_schedule_golden golden test_schedule_golden.c LINK denoise base PkgConfig::JANSSON m)
seedfarm_test(test_configs unit test_configs.c LINK text denoise image base PkgConfig::JANSSON)
seedfarm_test(test_renderer unit test_renderer.c LINK pipeline base PkgConfig::JANSSON)
