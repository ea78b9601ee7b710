/* Channel moments of a float32 signal in one pass over it: per channel, the sums of x - shift and of its square.

   All sums are taken in double precision. The shift of a channel is its first value, so a mean far larger than the
   standard deviation costs no digits; a channel whose first value lies far outside of the others is read twice more,
   from the definition. What is added in which order depends on the shape alone, not on the number of threads.

   On shifted data: Chan, Golub & LeVeque 1983, "Algorithms for computing the sample variance". */

#define _GNU_SOURCE /* for RTLD_DEFAULT */
#define Py_LIMITED_API 0x030B0000
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

#if defined(__unix__) || defined(__APPLE__)
#include <dlfcn.h>
#endif

/* Vectors in flight: an addition takes several cycles, and one can start in each. */
#define UNROLLED 4
/* Rows with fewer values than this are not worth a loop of their own ... */
#define SHORT_ROW 32
/* ... so as many neighbouring positions are summed over the samples, whatever channels they belong to. */
#define BLOCK 64
/* Of a channel, so many values are read before the next one's turn: more would jump about in memory too much. */
#define IN_TURN 512
/* Signals with fewer values than this are reduced by the calling thread: waking others takes as long. */
#define WORTH_THREADS (1 << 16)
/* Σ(x - shift)² / Σ(x - mean)² multiplies the rounding error of the sums, which is 1e-16 times the number of values
   per lane in the worst case: 1e-12 for a million. It is at most the number of values, since the shift is one. */
#define MAX_AMPLIFICATION 1e4

/* Inlined into one function for every generation of vector instructions. */
#define INLINE static inline __attribute__((always_inline))

struct Counts {
    Py_ssize_t nonfinite, redone; /* values that are not finite, and channels that were read again */
};

typedef struct {
    const float *x;
    Py_ssize_t samples, channels, length; /* of x, which is contiguous */
    Py_ssize_t first, last;               /* the channels to reduce */
    double *mean, *m2;                    /* of all channels; until the end, the sums */
    struct Counts *counts;                /* shared by the threads */
} Job;

#define LANES 8
#include "native_moments.h"
#undef LANES
#define LANES 4
#include "native_moments.h"
#undef LANES
#define LANES 2
#include "native_moments.h"
#undef LANES

/* Add all samples of neighbouring positions to the sums of each. */
INLINE void add_positions(const float *x, Py_ssize_t samples, Py_ssize_t stride, int width, const double *shift,
                          double *s, double *q) {
    for (; samples-- > 0; x += stride)
        for (int i = 0; i < width; i++) {
            const double d = x[i] - shift[i];
            s[i] += d;
            q[i] += d * d;
        }
}

INLINE void sum_short_rows(const Job *job) {
    const Py_ssize_t length = job->length, stride = job->channels * length, most = BLOCK / length;
    unsigned char owner[BLOCK]; /* the first position of each position's channel */
    for (int i = 0; i < BLOCK; i++) owner[i] = (unsigned char)(i - i % length);
    for (Py_ssize_t c = job->first; c < job->last; c += most) {
        const Py_ssize_t left = stride - c * length;
        const float *x = job->x + c * length;
        double s[BLOCK] = {0}, q[BLOCK] = {0}, shift[BLOCK];
        if (left >= BLOCK) {
            /* A constant width is quicker, even if some positions belong to the next channel and aren't used. */
            for (int i = 0; i < BLOCK; i++) shift[i] = x[owner[i]];
            add_positions(x, job->samples, stride, BLOCK, shift, s, q);
        } else {
            for (int i = 0; i < left; i++) shift[i] = x[owner[i]];
            add_positions(x, job->samples, stride, (int)left, shift, s, q);
        }
        for (Py_ssize_t k = 0; k < most && c + k < job->last; k++) {
            double total = 0, squares = 0;
            for (Py_ssize_t i = k * length; i < (k + 1) * length; i++) {
                total += s[i];
                squares += q[i];
            }
            job->mean[c + k] = total;
            job->m2[c + k] = squares;
        }
    }
}

/* From the definition; counts what is not finite. */
static void redo(const Job *job, Py_ssize_t c) {
    const Py_ssize_t length = job->length, stride = job->channels * length;
    const float *x = job->x + c * length;
    Py_ssize_t nonfinite = 0;
    double total = 0, squares = 0;
    for (Py_ssize_t n = 0; n < job->samples; n++)
        for (Py_ssize_t i = 0; i < length; i++) {
            total += x[n * stride + i];
            nonfinite += !isfinite(x[n * stride + i]);
        }
    const double mean = total / ((double)job->samples * (double)length);
    for (Py_ssize_t n = 0; n < job->samples; n++)
        for (Py_ssize_t i = 0; i < length; i++) {
            const double d = x[n * stride + i] - mean;
            squares += d * d;
        }
    job->mean[c] = mean;
    job->m2[c] = squares;
    __atomic_fetch_add(&job->counts->nonfinite, nonfinite, __ATOMIC_RELAXED);
    __atomic_fetch_add(&job->counts->redone, 1, __ATOMIC_RELAXED);
}

INLINE void reduce_inlined(const Job *job, void (*sum_long_rows)(const Job *)) {
    if (job->length < SHORT_ROW)
        sum_short_rows(job);
    else
        sum_long_rows(job);
    const double count = (double)job->samples * (double)job->length;
    for (Py_ssize_t c = job->first; c < job->last; c++) {
        const double total = job->mean[c], squares = job->m2[c], m2 = squares - total * (total / count);
        job->mean[c] = job->x[c * job->length] + total / count;
        job->m2[c] = m2;
        /* Written so that nan does not fulfil it; a constant channel, all zeros, does. */
        if (!(m2 * MAX_AMPLIFICATION >= squares)) redo(job, c);
    }
}

/* 128 bits: SSE2 and NEON, which every processor of its kind has. */
static void reduce_plainly(const Job *job) { reduce_inlined(job, sum_long_rows_2); }
static void (*reduce)(const Job *) = reduce_plainly;

#if defined(__x86_64__)
__attribute__((target("avx2,fma"))) static void reduce_with_avx2(const Job *job) {
    reduce_inlined(job, sum_long_rows_4);
}
__attribute__((target("avx512f"))) static void reduce_with_avx512(const Job *job) {
    reduce_inlined(job, sum_long_rows_8);
}

static void choose(void) {
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f"))
        reduce = reduce_with_avx512;
    else if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        reduce = reduce_with_avx2;
}
#else
static void choose(void) {}
#endif

/* Torch's own threads, where it has them from OpenMP: they spin for a while after each of its operations, and threads
   of ours would have to share the processors with them. The runtime that torch loaded is looked up by name, since every
   other copy of it would start threads of its own; both GCC's and LLVM's have these functions. */
static struct {
    int known;
    void (*parallel)(void (*)(void *), void *, unsigned, unsigned);
    int (*number)(void), (*count)(void);
} team;

static void find_team(void) {
    team.known = 1;
#if defined(RTLD_DEFAULT)
    *(void **)&team.number = dlsym(RTLD_DEFAULT, "omp_get_thread_num");
    *(void **)&team.count = dlsym(RTLD_DEFAULT, "omp_get_num_threads");
    if (team.number && team.count) *(void **)&team.parallel = dlsym(RTLD_DEFAULT, "GOMP_parallel");
#endif
}

static void reduce_part(void *whole) {
    const Job *job = whole;
    Job part = *job;
    const Py_ssize_t number = team.number(), count = team.count();
    part.first = job->channels * number / count;
    part.last = job->channels * (number + 1) / count;
    reduce(&part);
}

static void reduce_all(Job *job, unsigned threads) {
    if (threads > 1 && team.parallel && job->samples * job->channels * job->length >= WORTH_THREADS)
        team.parallel(reduce_part, job, threads, 0);
    else
        reduce(job);
}

static PyObject *channel_moments(PyObject *self, PyObject *args) {
    (void)self;
    unsigned long long address;
    Py_ssize_t start;
    unsigned threads;
    Py_buffer out;
    struct Counts counts = {0, 0};
    Job job = {.counts = &counts};
    if (!PyArg_ParseTuple(args, "Knnnw*nI", &address, &job.samples, &job.channels, &job.length, &out, &start, &threads))
        return NULL;
    if (job.samples < 1 || job.channels < 1 || job.length < 1 || start < 0 || start > out.len ||
        job.channels > (out.len - start) / (Py_ssize_t)(2 * sizeof(double))) {
        PyBuffer_Release(&out);
        PyErr_SetString(PyExc_ValueError, "an empty signal, or no room for its moments");
        return NULL;
    }
    if (address == 0) {
        PyBuffer_Release(&out);
        PyErr_SetString(PyExc_ValueError, "a signal with no memory");
        return NULL;
    }
    job.x = (const float *)(uintptr_t)address;
    job.mean = (double *)((char *)out.buf + start);
    job.m2 = job.mean + job.channels;
    job.last = job.channels;
    if (!team.known) find_team();
    Py_BEGIN_ALLOW_THREADS
    reduce_all(&job, threads);
    Py_END_ALLOW_THREADS
    PyBuffer_Release(&out);
    return Py_BuildValue("nn", counts.nonfinite, counts.redone);
}

static PyMethodDef methods[] = {{"channel_moments", channel_moments, METH_VARARGS, NULL}, {NULL, NULL, 0, NULL}};
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "native_moments", NULL, 0, methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit_native_moments(void) {
    choose();
    return PyModuleDef_Init(&module);
}
