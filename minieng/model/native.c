/* Paged attention for a CPU, for rows of few new tokens (decodes and short chunks), and what lies between the matrix
 * products of a layer: norm, rotary embedding and gate, each in one pass where torch takes several.
 *
 * One task is one query token with all its heads, so that keys and values stream through in the order in which they
 * lie in memory, each read once. Where there are too few tokens for all threads, a task is one K/V head of a token.
 * Two passes: all scores of the row into scratch lines, then softmax and the weighted sum of the values. The result
 * depends on the row alone, never on its neighbours in the batch.
 *
 * Compiled once for float and once for bfloat16 (KV_T, LOAD), see native.py.
 */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#ifdef BF16
typedef uint16_t num_t;
static inline float load(num_t x) { uint32_t u = (uint32_t)x << 16; float f; memcpy(&f, &u, 4); return f; }
static inline num_t save(float f) {           /* round to nearest even, as torch does */
    uint32_t u; memcpy(&u, &f, 4);
    return (num_t)((u + 0x7fff + ((u >> 16) & 1)) >> 16);
}
#else
typedef float num_t;
static inline float load(num_t x) { return x; }
static inline num_t save(float f) { return f; }
#endif

/* e^x for x <= 0, to a relative error below 2e-7; unlike the library's, compilers turn it into vector code.
 * e^x = 2^n e^r with n = round(x / ln 2); the polynomial for e^r on [-ln2/2, ln2/2] is the one of Cephes' expf. */
static inline float exp_negative(float x)
{
    x = x < -87.0f ? -87.0f : x;
    const float n = __builtin_rintf(x * 1.44269504f);
    const float r = x - n * 0.693359375f + n * 2.12194440e-4f;
    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1.0f;
    union { int32_t bits; float value; } scale = {((int32_t)n + 127) << 23};
    return p * scale.value;
}

#define SHARED_WORK 16384    /* numbers; for fewer, waking another thread costs more than it saves */

/* Where the walk over a row's slots finds key or value number s. */
static inline const num_t *row_at(const num_t *cache, const int32_t *table, int64_t s, int64_t block_size, int64_t step)
{
    return cache + ((int64_t)table[s / block_size] * block_size + s % block_size) * step;
}

/* q, out [tokens, heads, dim]; k, v [blocks, block_size, kv_heads, dim]; tables [rows, table_width]
 * row_of [tasks] which row a query token belongs to, token_of [tasks] its place in q, end_of [tasks] one past the last
 * slot it sees, start_of [tasks] the first (left padding or a sliding window lie before it)
 * together: K/V heads in one task. Returns 0, or 1 if there was no memory for the scratch lines. */
int attend(const num_t *q, const num_t *k, const num_t *v, num_t *out, const int32_t *tables, int64_t table_width,
           const int32_t *row_of, const int32_t *token_of, const int32_t *start_of, const int32_t *end_of,
           int64_t tasks, int64_t longest, int64_t heads, int64_t kv_heads, int64_t dim, int64_t block_size,
           int64_t together, float scale, float softcap)
{
    const int64_t group = heads / kv_heads, step = kv_heads * dim, parts = kv_heads / together, lines = together * group;
    int failed = 0;
#pragma omp parallel
    {
        float *scratch = malloc(sizeof(float) * lines * (longest + 2 * dim));
        if (!scratch) failed = 1;
        else {
        float *scores = scratch, *query = scores + lines * longest, *sum = query + lines * dim;
#pragma omp for schedule(dynamic, 1)
        for (int64_t task = 0; task < tasks * parts; task++) {
            const int64_t t = task / parts, first = task % parts * together;       /* first: of the task's K/V heads */
            const int32_t *table = tables + row_of[t] * table_width;
            const int64_t start = start_of[t], end = end_of[t], length = end - start;
            const int64_t at = (token_of[t] * heads + first * group) * dim;
            for (int64_t i = 0; i < lines * dim; i++) { query[i] = load(q[at + i]) * scale; sum[i] = 0; }
            for (int64_t s = start; s < end; s++) {
                const num_t *key = row_at(k, table, s, block_size, step) + first * dim;
                for (int64_t line = 0; line < lines; line++) {
                    const num_t *own = key + line / group * dim;
                    float dot = 0;
                    for (int64_t d = 0; d < dim; d++) dot += query[line * dim + d] * load(own[d]);
                    scores[line * longest + s - start] = softcap > 0 ? softcap * tanhf(dot / softcap) : dot;
                }
            }
            for (int64_t line = 0; line < lines; line++) {
                float *score = scores + line * longest, top = -INFINITY, total = 0;
                for (int64_t i = 0; i < length; i++) top = score[i] > top ? score[i] : top;
                for (int64_t i = 0; i < length; i++) { score[i] = exp_negative(score[i] - top); total += score[i]; }
                for (int64_t i = 0; i < length; i++) score[i] /= total;
            }
            for (int64_t s = start; s < end; s += 4) {                   /* four values for each trip through the sums */
                const int64_t n = end - s < 4 ? end - s : 4;
                const num_t *value[4];
                for (int64_t j = 0; j < 4; j++) value[j] = row_at(v, table, s + (j < n ? j : 0), block_size, step) + first * dim;
                for (int64_t line = 0; line < lines; line++) {
                    const float *score = scores + line * longest + s - start;
                    const float a = score[0], b = n > 1 ? score[1] : 0, c = n > 2 ? score[2] : 0, e = n > 3 ? score[3] : 0;
                    const int64_t own = line / group * dim;
                    float *into = sum + line * dim;
                    for (int64_t d = 0; d < dim; d++)
                        into[d] += a * load(value[0][own + d]) + b * load(value[1][own + d])
                                 + c * load(value[2][own + d]) + e * load(value[3][own + d]);
                }
            }
            for (int64_t i = 0; i < lines * dim; i++) out[at + i] = save(sum[i]);
        }
        }
        free(scratch);
    }
    return failed;
}

/* Copy k and v [tokens, width], whose rows lie k_stride and v_stride apart, to their slots in the caches. */
void store(const num_t *k, const num_t *v, num_t *k_cache, num_t *v_cache, const int64_t *slots, int64_t tokens,
           int64_t width, int64_t k_stride, int64_t v_stride)
{
    for (int64_t t = 0; t < tokens; t++) {
        memcpy(k_cache + slots[t] * width, k + t * k_stride, sizeof(num_t) * width);
        memcpy(v_cache + slots[t] * width, v + t * v_stride, sizeof(num_t) * width);
    }
}

/* out = x / rms(x) * weight over rows of width numbers; the quotient is rounded before it is weighted, as torch does it. */
void rms_norm(const num_t *x, const num_t *weight, num_t *out, int64_t rows, int64_t width, float eps)
{
#pragma omp parallel for if (rows * width > SHARED_WORK)
    for (int64_t r = 0; r < rows; r++) {
        float squares = 0;
        for (int64_t i = 0; i < width; i++) squares += load(x[r * width + i]) * load(x[r * width + i]);
        const float scale = 1.0f / sqrtf(squares / width + eps);
        for (int64_t i = 0; i < width; i++)
            out[r * width + i] = save(load(save(load(x[r * width + i]) * scale)) * load(weight[i]));
    }
}

/* Rotary embedding in place: x [rows, stride] of which heads * dim numbers are turned; cos, sin [rows, dim]. The first half
 * of sin is negated already. */
void rotate(num_t *x, const num_t *cosine, const num_t *sine, int64_t rows, int64_t heads, int64_t dim, int64_t stride)
{
    const int64_t half = dim / 2;
#pragma omp parallel for if (rows * heads * dim > SHARED_WORK)
    for (int64_t r = 0; r < rows; r++)
        for (int64_t h = 0; h < heads; h++) {
            num_t *low = x + r * stride + h * dim, *high = low + half;
            const num_t *c = cosine + r * dim, *s = sine + r * dim;
            for (int64_t i = 0; i < half; i++) {
                const float a = load(low[i]), b = load(high[i]);
                low[i] = save(a * load(c[i]) + b * load(s[i]));
                high[i] = save(b * load(c[i + half]) + a * load(s[i + half]));
            }
        }
}

/* out = silu(gate) * up for rows of [gate, up], width numbers each. */
void silu_mul(const num_t *gate_up, num_t *out, int64_t rows, int64_t width)
{
#pragma omp parallel for if (rows * width > SHARED_WORK)
    for (int64_t r = 0; r < rows; r++)
        for (int64_t i = 0; i < width; i++) {
            const float gate = load(gate_up[r * 2 * width + i]), e = exp_negative(gate < 0 ? gate : -gate);
            out[r * width + i] = save(gate * (gate < 0 ? e : 1.0f) / (1.0f + e) * load(gate_up[(r * 2 + 1) * width + i]));
        }
}
