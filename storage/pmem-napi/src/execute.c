/*
 * Bindings of program.c: execute, on the calling thread, and executeAsync, on a thread of libuv's pool, for
 * barriers that block (msync).
 *
 * A region runs one program at a time. The native thread touches only the compiled steps, the mapping and the
 * sync hull; everything else belongs to the thread of JavaScript, which adds the tally up when the work is back.
 */
#include <errno.h>
#include <stdlib.h>

#include "arguments.h"
#include "errors.h"
#include "program.h"

struct job {
  struct region *region;
  uint32_t step_count;
  int result;
  struct tally tally;
  napi_async_work work;
  napi_ref callback;
};

static void add_tally(struct region *region, const struct tally *tally) {
  region->counters[COUNTER_PROGRAMS] += 1;
  region->counters[COUNTER_FENCES] += (double)tally->fences;
  region->counters[COUNTER_FLUSHED_LINES] += (double)tally->flushed_lines;
  region->counters[COUNTER_SEALS] += (double)tally->seals;
  region->counters[COUNTER_CLEARS] += (double)tally->clears;
  region->counters[COUNTER_SYNCS] += (double)tally->syncs;
}

/* Finds the region and compiles the program; 0 or a negative errno. */
static int prepare(napi_env env, const napi_value *values, struct environment *environment, struct region **region, uint32_t *step_count) {
  uint32_t id, word_count;
  int32_t *words;
  size_t length;
  if (!argument_u32(env, values[0], &id) || !(*region = region_find(environment, id))) return -EBADF;
  if ((*region)->running) return -EBUSY;
  if (!argument_words(env, values[1], &words, &length) || !argument_u32(env, values[2], &word_count) || word_count > length) return -EINVAL;
  return program_compile(*region, words, word_count, step_count);
}

/* execute(handle, program, words) -> 0 or a negative errno */
static napi_value execute(napi_env env, napi_callback_info info) {
  napi_value values[3];
  struct environment *environment;
  struct region *region;
  struct tally tally = {0};
  uint32_t step_count;
  if (!arguments_get(env, info, 3, values, &environment)) return NULL;
  int result = prepare(env, values, environment, &region, &step_count);
  if (result == 0) {
    result = program_run(region, step_count, &tally);
    add_tally(region, &tally);
  }
  return make_i32(env, result);
}

static void run_job(napi_env env, void *data) {
  (void)env;
  struct job *job = data;
  job->result = program_run(job->region, job->step_count, &job->tally);
}

static void finish_job(napi_env env, napi_status status, void *data) {
  struct job *job = data;
  napi_value callback, receiver, argument, message;
  int result = status == napi_ok ? job->result : -ECANCELED;
  job->region->running = false;
  add_tally(job->region, &job->tally);
  bool callable = napi_get_reference_value(env, job->callback, &callback) == napi_ok && napi_get_undefined(env, &receiver) == napi_ok;
  napi_delete_reference(env, job->callback);
  napi_delete_async_work(env, job->work);
  free(job);
  if (!callable) return;
  if (result == 0) {
    if (napi_get_null(env, &argument) != napi_ok) return;
  } else {
    message = make_string(env, error_text(-result));
    if (napi_create_error(env, make_string(env, error_code(-result)), message, &argument) != napi_ok) return;
    napi_set_named_property(env, argument, "errno", make_i32(env, result));
  }
  napi_call_function(env, receiver, callback, 1, &argument, NULL); /* an exception of the callback is uncaught, as in any callback */
}

/* executeAsync(handle, program, words, callback) -> 0 or a negative errno; the callback is called only after 0 */
static napi_value execute_async(napi_env env, napi_callback_info info) {
  napi_value values[4];
  struct environment *environment;
  struct region *region;
  napi_valuetype type;
  uint32_t step_count;
  if (!arguments_get(env, info, 4, values, &environment)) return NULL;
  if (napi_typeof(env, values[3], &type) != napi_ok || type != napi_function) return throw_invalid(env, "callback must be a function");
  int result = prepare(env, values, environment, &region, &step_count);
  if (result != 0) return make_i32(env, result);

  struct job *job = calloc(1, sizeof *job);
  if (!job) return make_i32(env, -ENOMEM);
  job->region = region;
  job->step_count = step_count;
  if (napi_create_reference(env, values[3], 1, &job->callback) != napi_ok) {
    free(job);
    return make_i32(env, -ENOMEM);
  }
  if (napi_create_async_work(env, NULL, make_string(env, "pmem-program"), run_job, finish_job, job, &job->work) != napi_ok) {
    napi_delete_reference(env, job->callback);
    free(job);
    return make_i32(env, -ENOMEM);
  }
  region->running = true;
  if (napi_queue_async_work(env, job->work) != napi_ok) {
    region->running = false;
    napi_delete_async_work(env, job->work);
    napi_delete_reference(env, job->callback);
    free(job);
    return make_i32(env, -EAGAIN);
  }
  return make_i32(env, 0);
}

const struct export execute_exports[] = {
    {"execute", execute},
    {"executeAsync", execute_async},
    {NULL, NULL},
};
