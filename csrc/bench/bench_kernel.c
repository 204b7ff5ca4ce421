/* lucid-bench-kernel: times lucid's kernels on cases that `lucid bench kernel --list` prints, without Python. Each case
 * is checked against its definition first, and runs in two ways: as a call of the operator, and as a plan of one step,
 * which converts the image into its own layout and back. */
#define _POSIX_C_SOURCE 199309L

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "bench/operators.h"

enum { kMostRounds = 1000, kMostCalls = 1 << 14, kFewestCalls = 3, kWayCount = 2 };

static const char* const kWays[kWayCount] = {"eager", "plan"};

static const double kTurnSeconds = 0.05;

static const char kUsage[] =
    "usage: lucid-bench-kernel [--rounds N] [--threads N] [--isa NAME] [--csv] [--check] [FILE]\n"
    "\n"
    "Times lucid's kernels on the cases in FILE, or in the standard input, a line each:\n"
    "\n"
    "  lucid bench kernel 3x3 g32 --list | lucid-bench-kernel --threads 1\n"
    "\n"
    "  --rounds N   turns of each way, of which the median counts (default 7)\n"
    "  --threads N  for all cases (default: lucid's)\n"
    "  --isa NAME   pin an instruction set, such as avx2\n"
    "  --csv        comma-separated values, with a line for each case and way\n"
    "  --check      compare the cases with their definitions, and time nothing\n"
    "\n"
    "The exit status is 1 where a result is wrong, 2 where options or cases are.\n";

void die(const char* format, ...) {
  va_list values;
  va_start(values, format);
  fprintf(stderr, "lucid-bench-kernel: ");
  vfprintf(stderr, format, values);
  fputc('\n', stderr);
  va_end(values);
  exit(2);
}

void check(lucid_status status) {
  if (status != LUCID_OK) die("%s", lucid_last_error());
}

/* ---- times ------------------------------------------------------------------------------------------------------ */

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int ascending(const void* a, const void* b) {
  const double x = *(const double*)a, y = *(const double*)b;
  return (x > y) - (x < y);
}

/* Linear between the sorted values that are next to it. */
static double quantile(const double* sorted, int count, double part) {
  const double place = part * (count - 1);
  const int low = (int)place, high = low + 1 < count ? low + 1 : low;
  return sorted[low] + (place - low) * (sorted[high] - sorted[low]);
}

/* The median of the calls of a turn, in seconds; the first, whose caches something else has filled, does not count. */
static double turn(bench_problem* problem, const lucid_plan* plan) {
  static double seconds[kMostCalls];
  int calls = 0;
  run(problem, plan);
  for (double start = now(), before = start; calls < kMostCalls; ++calls) {
    if (calls >= kFewestCalls && before - start >= kTurnSeconds) break;
    run(problem, plan);
    const double after = now();
    seconds[calls] = after - before;
    before = after;
  }
  qsort(seconds, (size_t)calls, sizeof *seconds, ascending);
  return quantile(seconds, calls, 0.5);
}

/* ---- the program ------------------------------------------------------------------------------------------------ */

typedef struct settings {
  int rounds, csv, check;
  const char* file;    /* NULL for the standard input */
  double peak, memory; /* the roofs; the higher of several measurements, since others may have been in the way */
} settings;

static int number_of(const char* option, const char* text, int most) {
  char* end;
  const long number = text != NULL ? strtol(text, &end, 10) : 0;
  if (text == NULL || end == text || *end != '\0' || number < 1 || number > most)
    die("%s must be a number from 1 to %d, got '%s'", option, most, text != NULL ? text : "");
  return (int)number;
}

static settings read_options(char** arguments) {
  settings chosen = {.rounds = 7};
  for (; *arguments != NULL; ++arguments) {
    const char* option = *arguments;
    if (strcmp(option, "--help") == 0) {
      fputs(kUsage, stdout);
      exit(0);
    } else if (strcmp(option, "--csv") == 0) {
      chosen.csv = 1;
    } else if (strcmp(option, "--check") == 0) {
      chosen.check = 1;
    } else if (strcmp(option, "--rounds") == 0) {
      chosen.rounds = number_of(option, *++arguments, kMostRounds);
    } else if (strcmp(option, "--threads") == 0) {
      check(lucid_set_num_threads(number_of(option, *++arguments, 1024)));
    } else if (strcmp(option, "--isa") == 0) {
      if (*++arguments == NULL) die("--isa must be one of %s", lucid_isas());
      check(lucid_set_isa(*arguments));
    } else if (option[0] == '-' && option[1] != '\0') {
      die("there is no option %s; see --help", option);
    } else {
      if (chosen.file != NULL) die("one file can be read, got %s and %s", chosen.file, option);
      chosen.file = option;
    }
  }
  return chosen;
}

/* By the definition; other operators than these two count as none. */
static double operations_of(const bench_case* given) {
  if (strcmp(given->kind->name, "conv2d") != 0 && strcmp(given->kind->name, "linear") != 0) return 0.0;
  return 2.0 * (double)elements(&given->output) * (double)(elements(&given->weight) / given->weight.sizes[0]);
}

/* The least that is read and written: inputs, weights and output. */
static double bytes_of(const bench_case* given) {
  int64_t count = elements(&given->output);
  for (int i = 0; i < given->op->inputs; ++i) count += elements(&given->inputs[i]);
  if (given->weight.ndim != 0) count += elements(&given->weight) + elements(&given->bias);
  return (double)count * sizeof(float);
}

static void print_head(const settings* chosen) {
  if (chosen->csv)
    printf("case,way,median_us,spread,gflops,percent_of_peak,gb_per_s,percent_of_memory\n");
  else
    printf("%-40s %-5s %10s %7s %9s %8s %7s %9s\n", "case", "way", "us", "spread", "GFLOP/s", "of peak", "GB/s",
           "of memory");
}

static void print_times(const settings* chosen, const bench_case* given, const char* way, double* seconds) {
  qsort(seconds, (size_t)chosen->rounds, sizeof *seconds, ascending);
  const double median = quantile(seconds, chosen->rounds, 0.5);
  const double spread = quantile(seconds, chosen->rounds, 0.75) - quantile(seconds, chosen->rounds, 0.25);
  const double gflops = 1e-9 * operations_of(given) / median, rate = 1e-9 * bytes_of(given) / median;
  const double of_peak = 100.0 * gflops / chosen->peak, of_memory = 100.0 * rate / chosen->memory;
  const int counted = gflops > 0.0;
  if (chosen->csv) {
    printf("%s,%s,%.3f,%.4f,", given->name, way, 1e6 * median, spread / median);
    if (counted) printf("%.3f,%.2f", gflops, of_peak);
    printf("%s,%.3f,%.2f\n", counted ? "" : ",", rate, of_memory);
  } else {
    printf("%-40s %-5s %10.1f %5.0f %% ", given->name, way, 1e6 * median, 100.0 * spread / median);
    if (counted) printf("%9.1f %6.0f %% ", gflops, of_peak);
    printf("%s%7.1f %7.0f %%\n", counted ? "" : "        -        - ", rate, of_memory);
  }
  fflush(stdout);
}

static void measure_roofs(settings* chosen) {
  double peak, memory;
  check(lucid_fma_peak(&peak));
  check(lucid_memory_bandwidth(&memory));
  if (peak > chosen->peak) chosen->peak = peak;
  if (memory > chosen->memory) chosen->memory = memory;
}

/* Each way has its turn in every round, so that a change of the machine's speed hits both. */
static void measure(settings* chosen, bench_problem* problem, const lucid_plan* const* plans, const int* right) {
  static double seconds[kWayCount][kMostRounds];
  for (int round = 0; round < chosen->rounds; ++round)
    for (int way = 0; way < kWayCount; ++way)
      if (right[way]) seconds[way][round] = turn(problem, plans[way]);
  measure_roofs(chosen);
  for (int way = 0; way < kWayCount; ++way)
    if (right[way]) print_times(chosen, problem->given, kWays[way], seconds[way]);
}

/* Whether the case is computed right in both ways; what is not is not measured. */
static int run_case(settings* chosen, const bench_case* given) {
  bench_problem problem;
  make_problem(&problem, given);
  lucid_plan* const plan = make_plan(&problem);
  const lucid_plan* const plans[kWayCount] = {NULL, plan};
  int right[kWayCount], all = 1;
  for (int way = 0; way < kWayCount; ++way) {
    right[way] = is_right(&problem, plans[way], kWays[way]);
    all = all && right[way];
  }
  if (!chosen->check)
    measure(chosen, &problem, plans, right);
  else if (all)
    printf("%s: right\n", given->name);
  lucid_plan_destroy(plan);
  destroy_problem(&problem);
  return all;
}

int main(int argc, char** argv) {
  settings chosen = read_options(argv + (argc > 0));
  const int standard = chosen.file == NULL || strcmp(chosen.file, "-") == 0;
  const char* name = standard ? "standard input" : chosen.file;
  FILE* file = standard ? stdin : fopen(name, "r");
  if (file == NULL) die("%s: must be a file that can be read", name);
  size_t count;
  int right = 1;
  bench_case* cases = read_cases(file, name, &count);
  if (!standard) fclose(file);
  if (!chosen.check) print_head(&chosen);
  for (size_t i = 0; i < count; ++i) right = run_case(&chosen, &cases[i]) && right;
  if (!chosen.check && !chosen.csv)
    printf(
        "lucid %s, %s, %d thread%s; median of %d rounds; peak %.1f GFLOP/s, memory %.1f GB/s, measured in this run\n",
        lucid_version(), lucid_isa(), (int)lucid_num_threads(), &"s"[lucid_num_threads() == 1], chosen.rounds,
        chosen.peak, chosen.memory);
  free(cases);
  return right ? 0 : 1;
}
