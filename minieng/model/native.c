/* Paged attention for a CPU, for decodes, short chunks and short prompts; what lies between the matrix products of a
 * layer (norm, rotary embedding and gate), each in one pass where torch takes several; and the products themselves.
 *
 * Attention: one task is one query token with all its heads, so that keys and values stream through in the order in
 * which they lie in memory, each read once. Where there are too few tokens for all threads, a task is one K/V head of a token.
 * Two passes: all scores of the row into scratch lines, then softmax and the weighted sum of the values. The result
 * depends on the row alone, never on its neighbours in the batch.
 *
 * Compiled once for float and once for bfloat16 (BF16), see native.py.
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

#define LANES 16      /* numbers in a vector register, or in several where registers are narrower */
#define STRETCH 16    /* slots worked through at a time, at most: their keys lie in the nearest cache for all heads */
typedef float vec __attribute__((vector_size(4 * LANES)));

static inline vec floats(const float *x) { vec out; memcpy(&out, x, sizeof out); return out; }

static inline vec numbers(const num_t *x)
{
#ifdef BF16
    typedef uint16_t halves __attribute__((vector_size(2 * LANES)));
    typedef uint32_t words __attribute__((vector_size(4 * LANES)));
    halves in;
    memcpy(&in, x, sizeof in);
    const words wide = __builtin_convertvector(in, words) << 16;
    return floats((const float *)&wide);
#else
    return floats(x);
#endif
}

static inline float total_of(vec x)
{
    float lane[LANES], total = 0;
    memcpy(lane, &x, sizeof lane);
    for (int i = 0; i < LANES; i++) total += lane[i];
    return total;
}

/* Have memory bring numbers that will soon be needed: into the second cache, where more requests may be under way at a
 * time than to the nearest one (decodes of 32 rows take 12 ms with this, 16 ms with that, and 20 ms without). */
static inline void ask_for(const num_t *x, int64_t count)
{
    for (int64_t i = 0; i < count; i += 64 / sizeof(num_t)) __builtin_prefetch(x + i, 0, 2);
}

/* The same for one share of count rows of a cache, each width numbers of step. */
static inline void ask_for_share(const num_t *x, int64_t count, int64_t width, int64_t step, int64_t share, int64_t shares)
{
    for (int64_t s = count * share / shares; s < count * (share + 1) / shares; s++) ask_for(x + s * step, width);
}

/* Where slot s of a row lies in a cache. */
static inline const num_t *row_at(const num_t *cache, const int32_t *table, int64_t s, int64_t block_size, int64_t step)
{
    return cache + ((int64_t)table[s / block_size] * block_size + s % block_size) * step;
}

/* One past the last slot of the stretch that begins at s: slots of one block, one after the other in memory. */
static inline int64_t stretch_end(int64_t s, int64_t end, int64_t block_size)
{
    const int64_t block_end = (s / block_size + 1) * block_size, far = s + STRETCH < end ? s + STRETCH : end;
    return block_end < far ? block_end : far;
}

/* One task: scores of its lines (query heads), softmax, weighted sum. k and v begin at the task's first K/V head.
 * While the lines of a stretch are worked through, memory brings the next one, a share a line. Always inlined: a caller who writes dim
 * as a number gets loops over it without a branch. */
static inline __attribute__((always_inline)) void attend_task(
    const num_t *q, const num_t *k, const num_t *v, num_t *out, const int32_t *table, int64_t start, int64_t end,
    int64_t heads, int64_t group, const int64_t dim, int64_t step, int64_t block_size, float scale, float softcap,
    float *query, float *sum, float *scores, int64_t longest)
{
    const int64_t length = end - start, lines = heads * group, whole = dim / LANES * LANES;
    for (int64_t i = 0; i < lines * dim; i++) { query[i] = load(q[i]) * scale; sum[i] = 0; }
    for (int64_t from = start, to; from < end; from = to) {
        to = stretch_end(from, end, block_size);
        const num_t *keys = row_at(k, table, from, block_size, step);
        const num_t *next = to < end ? row_at(k, table, to, block_size, step) : row_at(v, table, start, block_size, step);
        for (int64_t line = 0; line < lines; line++) {
            ask_for_share(next, to - from, heads * dim, step, line, lines);
            for (int64_t s = 0; s < to - from; s++) {
                const num_t *key = keys + s * step + line / group * dim;
                vec part = {0};
                for (int64_t d = 0; d < whole; d += LANES) part += floats(query + line * dim + d) * numbers(key + d);
                float dot = total_of(part);
                for (int64_t d = whole; d < dim; d++) dot += query[line * dim + d] * load(key[d]);
                scores[line * longest + from - start + s] = dot;
            }
        }
    }
    for (int64_t line = 0; line < lines; line++) {
        float *score = scores + line * longest, top = -INFINITY, total = 0;
        if (softcap > 0) for (int64_t i = 0; i < length; i++) score[i] = softcap * tanhf(score[i] / softcap);
        for (int64_t i = 0; i < length; i++) top = score[i] > top ? score[i] : top;
        for (int64_t i = 0; i < length; i++) { score[i] = exp_negative(score[i] - top); total += score[i]; }
        for (int64_t i = 0; i < length; i++) score[i] /= total;
    }
    for (int64_t from = start, to; from < end; from = to) {
        to = stretch_end(from, end, block_size);
        const num_t *values = row_at(v, table, from, block_size, step);
        const num_t *next = row_at(v, table, to < end ? to : from, block_size, step);
        for (int64_t line = 0; line < lines; line++) {
            const int64_t own = line / group * dim;
            const float *score = scores + line * longest + from - start;
            float *into = sum + line * dim;
            for (int64_t d = 0; d < whole; d += 4 * LANES) {                /* four sums at a time: they stay in registers */
                const int64_t n = whole - d < 4 * LANES ? (whole - d) / LANES : 4;
                vec part[4];
                for (int64_t i = 0; i < n; i++) part[i] = floats(into + d + i * LANES);
                for (int64_t s = 0; s < to - from; s++)
                    for (int64_t i = 0; i < n; i++) part[i] += score[s] * numbers(values + s * step + own + d + i * LANES);
                memcpy(into + d, part, n * sizeof part[0]);
            }
            ask_for_share(next, to - from, heads * dim, step, line, lines);
            for (int64_t s = 0; s < to - from; s++)
                for (int64_t d = whole; d < dim; d++) into[d] += score[s] * load(values[s * step + own + d]);
        }
    }
    for (int64_t i = 0; i < lines * dim; i++) out[i] = save(sum[i]);
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
            const int64_t at = (token_of[t] * heads + first * group) * dim;
#define ATTEND(DIM) attend_task(q + at, k + first * dim, v + first * dim, out + at, tables + row_of[t] * table_width, \
    start_of[t], end_of[t], together, group, DIM, step, block_size, scale, softcap, query, sum, scores, longest)
            if (dim == 64) ATTEND(64); else if (dim == 128) ATTEND(128); else ATTEND(dim);
#undef ATTEND
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

#ifndef BF16
/* Matrix products with few to a few hundred rows. A weight is laid out in panels of PANEL outputs, so that it streams
 * through in the order in which it lies in memory. A tile is up to TALL rows by one panel, all of it in registers. */
#define WIDE 3
#define PANEL (WIDE * LANES)
#define TALL 9               /* 27 of 32 registers for sums, 3 for a line of the panel */
#define NEAR 16              /* lines of a panel that are asked for ahead */

/* One tile. x [rows, in]; panel [1 + in, PANEL], its first line the bias; y [rows, wide] of a matrix with rows of out numbers.
 * ahead, pace: what to have brought into the cache meanwhile, for the next panel, and bytes a line. */
static inline __attribute__((always_inline)) void tile(const float *x, const float *panel, float *y, int64_t in, int64_t out,
                                                       int64_t wide, const int64_t rows, const char *ahead, int64_t pace)
{
    vec sum[TALL][WIDE], line[WIDE];
    for (int64_t r = 0; r < rows; r++)
        for (int64_t c = 0; c < WIDE; c++) sum[r][c] = floats(panel + c * LANES);
    for (int64_t i = 0; i < in; i++) {
        panel += PANEL;
        ahead += pace;
        ask_for(panel + NEAR * PANEL, PANEL);
        __builtin_prefetch(ahead, 0, 2);
        __builtin_prefetch(ahead + 64, 0, 2);
        for (int64_t c = 0; c < WIDE; c++) line[c] = floats(panel + c * LANES);
        for (int64_t r = 0; r < rows; r++)
            for (int64_t c = 0; c < WIDE; c++) sum[r][c] += x[r * in + i] * line[c];
    }
    for (int64_t r = 0; r < rows; r++) memcpy(y + r * out, sum[r], sizeof(float) * wide);
}

/* y [rows, out] = x [rows, in] times panels [ceil(out / PANEL), 1 + in, PANEL] */
void linear(const float *x, const float *panels, float *y, int64_t rows, int64_t in, int64_t out)
{
    const int64_t count = (out + PANEL - 1) / PANEL, size = (1 + in) * PANEL, tiles = (rows + TALL - 1) / TALL;
#pragma omp parallel for collapse(2) if (rows * in * out > 16 * SHARED_WORK)
    for (int64_t p = 0; p < count; p++)
        for (int64_t t = 0; t < tiles; t++) {                  /* rows are shared out evenly: no tile of one or two is left */
            const int64_t from = rows * t / tiles, tall = rows * (t + 1) / tiles - from;
            const int64_t wide = out - p * PANEL < PANEL ? out - p * PANEL : PANEL, pace = sizeof(float) * PANEL / tiles;
            const char *ahead = (const char *)(panels + (p + 1) * size) + t * (1 + in) * pace;
#define TILE(ROWS) \
    case ROWS: tile(x + from * in, panels + p * size, y + from * out + p * PANEL, in, out, wide, ROWS, ahead, pace); break;
            switch (tall) { TILE(1) TILE(2) TILE(3) TILE(4) TILE(5) TILE(6) TILE(7) TILE(8) TILE(9) }
#undef TILE
        }
}
#endif
