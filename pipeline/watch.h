/* watch.h - asking whoever watches a render whether it shall go on. */
#ifndef PIPELINE_WATCH_H
#define PIPELINE_WATCH_H

#include "pipeline/pipeline.h"

/* True: go on. Nobody watching never cancels. */
static inline bool render_watch_ask(const struct render_watch *watch, enum render_phase phase, uint32_t step,
                                    uint32_t steps) {
    return watch == NULL || watch->progress == NULL || watch->progress(watch->context, phase, step, steps);
}

#endif
