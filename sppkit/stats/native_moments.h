/* Sums over long rows, in vectors of LANES doubles; native_moments.c includes this once for every width, since compilers
   don't split vectors well that are wider than the processor's registers. */

#define PASTE(name, lanes) name##_##lanes
#define EXPAND(name, lanes) PASTE(name, lanes)
#define OF_WIDTH(name) EXPAND(name, LANES)
#define doubles OF_WIDTH(doubles)
#define floats OF_WIDTH(floats)
#define bits OF_WIDTH(bits)

typedef double doubles __attribute__((vector_size(8 * LANES)));
typedef int64_t bits __attribute__((vector_size(8 * LANES)));
typedef float floats __attribute__((vector_size(4 * LANES)));

INLINE doubles OF_WIDTH(load)(const float *x) {
    floats values;
    memcpy(&values, x, sizeof values);
    return __builtin_convertvector(values, doubles);
}

INLINE double OF_WIDTH(sum_lanes)(const doubles *v) {
    const doubles s = (v[0] + v[1]) + (v[2] + v[3]);
    double sum = 0;
    for (int k = 0; k < LANES; k++) sum += s[k];
    return sum;
}

/* Add some samples of one channel to its sums. */
INLINE void OF_WIDTH(add_rows)(const float *row, Py_ssize_t samples, Py_ssize_t stride, Py_ssize_t length,
                               double shift, bits rest, double *total, double *squares) {
    doubles s[UNROLLED] = {0}, q[UNROLLED] = {0};
    for (; samples-- > 0; row += stride) {
        Py_ssize_t i = 0;
        for (; i + UNROLLED * LANES <= length; i += UNROLLED * LANES)
            for (int k = 0; k < UNROLLED; k++) {
                const doubles d = OF_WIDTH(load)(row + i + k * LANES) - shift;
                s[k] += d;
                q[k] += d * d;
            }
        for (int k = 0; i + LANES <= length; i += LANES, k++) {
            const doubles d = OF_WIDTH(load)(row + i) - shift;
            s[k] += d;
            q[k] += d * d;
        }
        if (i < length) {
            /* The last full vector, without what was added already. */
            const doubles d = (doubles)((bits)(OF_WIDTH(load)(row + length - LANES) - shift) & rest);
            s[UNROLLED - 1] += d;
            q[UNROLLED - 1] += d * d;
        }
    }
    *total += OF_WIDTH(sum_lanes)(s);
    *squares += OF_WIDTH(sum_lanes)(q);
}

INLINE void OF_WIDTH(sum_long_rows)(const Job *job) {
    const Py_ssize_t length = job->length, stride = job->channels * length;
    const Py_ssize_t most = length < IN_TURN ? IN_TURN / length : 1;
    bits rest;
    for (int k = 0; k < LANES; k++) rest[k] = k < LANES - length % LANES ? 0 : -1;
    for (Py_ssize_t c = job->first; c < job->last; c++) job->mean[c] = job->m2[c] = 0;
    for (Py_ssize_t n = 0; n < job->samples; n += most) {
        const Py_ssize_t samples = job->samples - n < most ? job->samples - n : most;
        for (Py_ssize_t c = job->first; c < job->last; c++)
            OF_WIDTH(add_rows)(job->x + n * stride + c * length, samples, stride, length, job->x[c * length], rest,
                               job->mean + c, job->m2 + c);
    }
}

#undef doubles
#undef floats
#undef bits
#undef OF_WIDTH
#undef EXPAND
#undef PASTE
