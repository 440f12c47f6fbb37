/* Paged attention for a CPU, for rows of few new tokens (decodes and short chunks).
 *
 * One task is one query token and one K/V head: its query heads are done together, so that each key is read once.
 * Two passes: all scores of the row into a scratch line, then softmax and the weighted sum of the values. The
 * result depends on the row alone, never on its neighbours in the batch.
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

#define MAX_GROUP 16
#define MAX_DIM 256

/* q, out [tokens, heads, dim]; k, v [blocks, block_size, kv_heads, dim]; tables [rows, table_width]
 * row_of [tasks] which row a query token belongs to, token_of [tasks] its place in q, end_of [tasks] how many slots it sees,
 * start_of [tasks] the first slot it sees (left padding or a sliding window lie before it)
 * Returns 0, or 1 if there was no memory for the scratch lines. */
int attend(const num_t *q, const num_t *k, const num_t *v, num_t *out, const int32_t *tables, int64_t table_width,
           const int32_t *row_of, const int32_t *token_of, const int32_t *start_of, const int32_t *end_of,
           int64_t tasks, int64_t longest, int64_t heads, int64_t kv_heads, int64_t dim, int64_t block_size,
           float scale, float softcap)
{
    const int64_t group = heads / kv_heads, step = kv_heads * dim;
    int failed = 0;
#pragma omp parallel
    {
        float *scores = malloc(sizeof(float) * group * longest);
        if (!scores) failed = 1;
        else {
#pragma omp for schedule(dynamic, 1)
        for (int64_t task = 0; task < tasks * kv_heads; task++) {
            const int64_t t = task / kv_heads, head = task % kv_heads;
            const int32_t *table = tables + row_of[t] * table_width;
            const int64_t start = start_of[t], end = end_of[t], length = end - start;
            float query[MAX_GROUP][MAX_DIM], sum[MAX_GROUP][MAX_DIM];
            for (int64_t g = 0; g < group; g++)
                for (int64_t d = 0; d < dim; d++) {
                    query[g][d] = load(q[(token_of[t] * heads + head * group + g) * dim + d]) * scale;
                    sum[g][d] = 0;
                }
            for (int64_t s = start; s < end; s++) {
                const num_t *key = k + ((int64_t)table[s / block_size] * block_size + s % block_size) * step + head * dim;
                for (int64_t g = 0; g < group; g++) {
                    float dot = 0;
                    for (int64_t d = 0; d < dim; d++) dot += query[g][d] * load(key[d]);
                    scores[g * length + s - start] = softcap > 0 ? softcap * tanhf(dot / softcap) : dot;
                }
            }
            float total[MAX_GROUP];
            for (int64_t g = 0; g < group; g++) {
                float *line = scores + g * length, top = -INFINITY;
                total[g] = 0;
                for (int64_t i = 0; i < length; i++) top = line[i] > top ? line[i] : top;
                for (int64_t i = 0; i < length; i++) { line[i] = exp_negative(line[i] - top); total[g] += line[i]; }
            }
            for (int64_t s = start; s < end; s++) {
                const num_t *value = v + ((int64_t)table[s / block_size] * block_size + s % block_size) * step + head * dim;
                for (int64_t g = 0; g < group; g++) {
                    const float weight = scores[g * length + s - start];
                    for (int64_t d = 0; d < dim; d++) sum[g][d] += weight * load(value[d]);
                }
            }
            for (int64_t g = 0; g < group; g++)
                for (int64_t d = 0; d < dim; d++)
                    out[(token_of[t] * heads + head * group + g) * dim + d] = save(sum[g][d] / total[g]);
        }
        }
        free(scores);
    }
    return failed;
}
