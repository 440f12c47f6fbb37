/* What a CPU computes of a model, in C: matrix products with few to a few hundred rows, paged attention, and what lies
 * between them (norm, rotary embedding, gate), each in one pass where torch takes several; and whole layers made of
 * these, without a way back to Python between them. What a row gets depends on the row alone, never on its neighbours
 * in the batch.
 *
 * Compiled once for float and once for bfloat16 (BF16), see native.py. Functions whose comment says "shared" are
 * called by all threads of a team, which divide the work among them and wait for each other at the end.
 */
#include <math.h>
#include <omp.h>
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
typedef float vec __attribute__((vector_size(4 * LANES)));
typedef uint32_t words __attribute__((vector_size(4 * LANES)));

static inline vec floats(const float *x) { vec out; memcpy(&out, x, sizeof out); return out; }

static inline vec numbers(const num_t *x)
{
#ifdef BF16
    typedef uint16_t halves __attribute__((vector_size(2 * LANES)));
    halves in;
    memcpy(&in, x, sizeof in);
    const words wide = __builtin_convertvector(in, words) << 16;
    return floats((const float *)&wide);
#else
    return floats(x);
#endif
}

/* Keep a value in its register, where the compiler would rather load it anew for each use and have loads bound the loop. */
#ifdef __AVX512F__
#define HOLD(x) __asm__("" : "+v"(x))
#else
#define HOLD(x) (void)(x)
#endif

static inline float total_of(vec x)
{
    float lane[LANES], total = 0;
    memcpy(lane, &x, sizeof lane);
    for (int i = 0; i < LANES; i++) total += lane[i];
    return total;
}

/* The lower and the upper bfloat16 of sixteen words. */
static inline words words_at(const void *x) { words out; memcpy(&out, x, sizeof out); return out; }
static inline vec lower(const void *x) { const words wide = words_at(x) << 16; return floats((const float *)&wide); }
static inline vec upper(const void *x) { const words wide = words_at(x) & 0xffff0000; return floats((const float *)&wide); }

/* Matrix products. A weight is laid out in panels of PANEL outputs, so that it streams through in the order in which it
 * lies in memory. A tile is up to TALL rows by one panel, all of it in registers. */
#ifdef __AVX512F__
#define WIDE 3
#define TALL 9               /* 27 of 32 registers for sums, 3 for a line of the panel */
#else
#define WIDE 1               /* a vec is two registers of AVX2 or four of NEON */
#define TALL 6
#endif
#define PANEL (WIDE * LANES)
#define NEAR 16              /* lines of a panel that are asked for ahead */

int64_t panel_width(void) { return PANEL; }

/* What memory is to bring into the second cache while a tile is worked through, and how many bytes a line: the next
 * panel, and keys and values that attention will read. */
struct wish {
    const char *panel, *k, *v;
    int64_t pace, kv_pace;
};

/* One tile: y = start + x times panel, or that added to y. Number i of row r is x[r * row_step + i * step]; start [PANEL];
 * panel [inner, PANEL], or if ``halves`` two lines woven into one of words, the earlier one's bfloat16 in the lower half;
 * y [rows, wide] of a matrix whose rows lie y_step apart. wish: what memory is to bring meanwhile, or null.
 * Always inlined: with literal numbers for rows and halves all sums stay in registers. */
static inline __attribute__((always_inline)) void tile(
    const float *x, int64_t row_step, int64_t step, const float *start, const float *panel, const int halves, float *y,
    int64_t y_step, int64_t inner, int64_t wide, int add, const int64_t rows, const struct wish *wish)
{
    struct wish own = wish ? *wish : (struct wish){0};
    vec sum[TALL][WIDE], line[WIDE];
    for (int64_t r = 0; r < rows; r++)
        for (int64_t c = 0; c < WIDE; c++) {
            sum[r][c] = floats(start + c * LANES);
            if (wish) __builtin_prefetch(y + r * y_step + c * LANES, 1);
        }
    for (int64_t i = 0; i < inner; i += 1 + halves, panel += PANEL) {
        if (wish) {
            for (int64_t c = 0; c < WIDE; c++) __builtin_prefetch(panel + NEAR * PANEL + c * LANES, 0, 2);
            __builtin_prefetch(own.panel, 0, 2);
            __builtin_prefetch(own.panel + 64, 0, 2);
            __builtin_prefetch(own.k, 0, 2);
            __builtin_prefetch(own.v, 0, 2);
            own.panel += own.pace;
            own.k += own.kv_pace;
            own.v += own.kv_pace;
        }
        for (int64_t c = 0; c < WIDE; c++) line[c] = halves ? lower(panel + c * LANES) : floats(panel + c * LANES);
        for (int64_t r = 0; r < rows; r++)
            for (int64_t c = 0; c < WIDE; c++) sum[r][c] += x[r * row_step + i * step] * line[c];
        if (halves && i + 1 < inner) {
            for (int64_t c = 0; c < WIDE; c++) line[c] = upper(panel + c * LANES);
            for (int64_t r = 0; r < rows; r++)
                for (int64_t c = 0; c < WIDE; c++) sum[r][c] += x[r * row_step + (i + 1) * step] * line[c];
        }
    }
    for (int64_t r = 0; r < rows; r++) {
        float *into = y + r * y_step;
        if (add && wide == PANEL)
            for (int64_t c = 0; c < WIDE; c++) sum[r][c] += floats(into + c * LANES);
        else if (add)
            for (int64_t i = 0; i < wide; i++) sum[r][i / LANES][i % LANES] += into[i];
        memcpy(into, sum[r], sizeof(float) * wide);
    }
}

/* The same for a number of rows, up to TALL, that is known only when it runs. */
static inline __attribute__((always_inline)) void tile_of(
    const float *x, int64_t row_step, int64_t step, const float *start, const float *panel, const int halves, float *y,
    int64_t y_step, int64_t inner, int64_t wide, int add, int64_t rows, const struct wish *wish)
{
#define TILE(ROWS) \
    case ROWS: tile(x, row_step, step, start, panel, halves, y, y_step, inner, wide, add, ROWS, wish); break;
    switch (rows) { TILE(1) TILE(2) TILE(3) TILE(4) TILE(5) TILE(6)
#if TALL > 6
        TILE(7) TILE(8) TILE(9)
#endif
    }
#undef TILE
}

/* Attention. A layer's cache: k, v [blocks, block_size, kv_heads, dim]; window: a token sees that many slots, its own among
 * them, 0: all; softcap: 0 for none. */
struct cache {
    num_t *k, *v;
    int64_t window;
    float scale, softcap;
};

/* A step's rows. tables [rows, table_width] name their blocks. A task is some tokens of one row; tasks [num_tasks, 5] has
 * the row, the first token's place in q, how many tokens, the first slot that is no padding, and one past the last slot
 * that the first token sees. longest: slots that a task sees, at most. together: K/V heads worked through as one task;
 * fewer than all where there are too few tasks for all threads. */
struct step {
    const int32_t *tables, *tasks;
    int64_t table_width, num_tasks, longest, together, heads, kv_heads, dim, block_size;
};

#define STRETCH 16    /* slots of a block worked through at a time: their keys lie in the nearest cache for all heads */
#define LINES 4       /* query heads of one K/V head worked through at once */
#define SPAN 64       /* slots gathered at a time for several tokens */

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

/* Scores [lines, longest] of some lines of one K/V head, for slots that lie one after the other. Meanwhile memory brings
 * as many slots from next on. */
static inline __attribute__((always_inline)) void score_slots(
    const float *query, const num_t *keys, const num_t *next, int64_t step, int64_t slots, float *scores, int64_t longest,
    const int64_t lines, const int64_t dim)
{
    const int64_t whole = dim / LANES * LANES;
    for (int64_t s = 0; s < slots; s++, keys += step, next += step) {
        vec dot[LINES] = {0};
        for (int64_t d = 0; d < whole; d += LANES) {
            vec key = numbers(keys + d);
            HOLD(key);
            __builtin_prefetch(next + d, 0, 2);
            for (int64_t l = 0; l < lines; l++) dot[l] += floats(query + l * dim + d) * key;
        }
        for (int64_t l = 0; l < lines; l++) {
            float total = total_of(dot[l]);
            for (int64_t d = whole; d < dim; d++) total += query[l * dim + d] * load(keys[d]);
            scores[l * longest + s] = total;
        }
    }
}

/* Add the values of such slots, each times its weight, to the lines' sums [lines, dim]. */
static inline __attribute__((always_inline)) void add_values(
    const float *weights, int64_t longest, const num_t *values, const num_t *next, int64_t step, int64_t slots, float *sums,
    const int64_t lines, const int64_t dim)
{
    const int64_t whole = dim / LANES * LANES;
    for (int64_t d = 0; d < whole; d += 4 * LANES) {           /* four vectors of each line: they stay in registers */
        const int64_t n = whole - d < 4 * LANES ? (whole - d) / LANES : 4;
        vec part[LINES][4];
        for (int64_t l = 0; l < lines; l++) memcpy(part[l], sums + l * dim + d, n * sizeof(vec));
        for (int64_t s = 0; s < slots; s++)
            for (int64_t i = 0; i < n; i++) {
                vec value = numbers(values + s * step + d + i * LANES);
                HOLD(value);
                __builtin_prefetch(next + s * step + d + i * LANES, 0, 2);
                for (int64_t l = 0; l < lines; l++) part[l][i] += weights[l * longest + s] * value;
            }
        for (int64_t l = 0; l < lines; l++) memcpy(sums + l * dim + d, part[l], n * sizeof(vec));
    }
    for (int64_t l = 0; l < lines; l++)
        for (int64_t s = 0; s < slots; s++)
            for (int64_t d = whole; d < dim; d++) sums[l * dim + d] += weights[l * longest + s] * load(values[s * step + d]);
}

/* One token: scores of its lines (query heads), softmax, weighted sum; keys and values stream through in the order in
 * which they lie in memory. q, k, v and out begin at the task's first heads. scratch: heads * group * (2 * dim + longest)
 * numbers. Always inlined: a caller who writes dim as a number gets loops without a branch. */
static inline __attribute__((always_inline)) void attend_one(
    const struct step *s, const struct cache *c, const num_t *q, const num_t *k, const num_t *v, num_t *out,
    const int32_t *table, int64_t start, int64_t end, const int64_t dim, float *scratch)
{
    const int64_t heads = s->together, group = s->heads / s->kv_heads, lines = heads * group, length = end - start;
    const int64_t step = s->kv_heads * dim, block_size = s->block_size, longest = s->longest;
    float *query = scratch, *sum = query + lines * dim, *scores = sum + lines * dim;
/* Up to LINES lines of each head at a time; CALL gets the first line, and how many as a number. */
#define SOME_LINES(CALL)                              \
    for (int64_t h = 0; h < heads; h++)               \
        for (int64_t g = 0; g < group; g += LINES) {  \
            const int64_t l = h * group + g;          \
            switch (group - g) {                      \
            case 1: CALL(1); break;                   \
            case 2: CALL(2); break;                   \
            case 3: CALL(3); break;                   \
            default: CALL(LINES);                     \
            }                                         \
        }
    for (int64_t i = 0; i < lines * dim; i++) { query[i] = load(q[i]) * c->scale; sum[i] = 0; }
    for (int64_t from = start, to; from < end; from = to) {
        to = stretch_end(from, end, block_size);
        const num_t *keys = row_at(k, table, from, block_size, step);
        const num_t *next = to < end ? row_at(k, table, to, block_size, step) : row_at(v, table, start, block_size, step);
#define SCORES(N) score_slots(query + l * dim, keys + h * dim, next + h * dim, step, to - from, \
                              scores + l * longest + from - start, longest, N, dim)
        SOME_LINES(SCORES)
#undef SCORES
    }
    for (int64_t l = 0; l < lines; l++) {
        float *score = scores + l * longest, top = -INFINITY, total = 0;
        if (c->softcap > 0) for (int64_t i = 0; i < length; i++) score[i] = c->softcap * tanhf(score[i] / c->softcap);
        for (int64_t i = 0; i < length; i++) top = score[i] > top ? score[i] : top;
        for (int64_t i = 0; i < length; i++) { score[i] = exp_negative(score[i] - top); total += score[i]; }
        for (int64_t i = 0; i < length; i++) score[i] /= total;
    }
    for (int64_t from = start, to; from < end; from = to) {
        to = stretch_end(from, end, block_size);
        const num_t *values = row_at(v, table, from, block_size, step);
        const num_t *next = row_at(v, table, to < end ? to : from, block_size, step);
#define VALUES(N) add_values(scores + l * longest + from - start, longest, values + h * dim, next + h * dim, step, to - from, \
                             sum + l * dim, N, dim)
        SOME_LINES(VALUES)
#undef VALUES
    }
    for (int64_t i = 0; i < lines * dim; i++) out[i] = save(sum[i]);
#undef SOME_LINES
}

/* Copy what slots from … to hold of one K/V head, as floats: near [to - from, dim]. */
static void gather(const num_t *cache, const int32_t *table, int64_t from, int64_t to, int64_t block_size, int64_t step,
                   int64_t dim, float *near)
{
    for (int64_t s = from; s < to; s++, near += dim) {
        const num_t *x = row_at(cache, table, s, block_size, step);
        for (int64_t d = 0; d < dim; d++) near[d] = load(x[d]);
    }
}

/* The first slot that a token sees which sees none from end on. Padding sees its own: a softmax over nothing is NaN. */
static inline int64_t first_slot(const struct cache *c, int64_t padding, int64_t end)
{
    const int64_t first = c->window && end - c->window > padding ? end - c->window : padding;
    return first < end ? first : end - 1;
}

/* Several tokens of a row and one K/V head. Their lines (tokens times query heads) lie side by side, as the outputs
 * of a panel do, so that scores and sums are tiles of matrix products, and softmax goes through all lines at once.
 * scratch: PANEL * (longest + 2 * dim) + SPAN * dim numbers. */
static void attend_many(const struct step *own, const struct cache *c, const num_t *q, int64_t q_step, const num_t *k,
                        const num_t *v, num_t *out, int64_t out_step, const int32_t *table, int64_t padding, int64_t first_end,
                        int64_t tokens, float *scratch)
{
    static const float zeros[PANEL];
    const int64_t dim = own->dim, step = own->kv_heads * dim, block_size = own->block_size, group = own->heads / own->kv_heads;
    const int64_t lines = tokens * group, end = first_end + tokens - 1;
    const int64_t start = first_slot(c, padding, first_end), last_start = first_slot(c, padding, end);
    float *query = scratch, *sum = query + PANEL * dim, *near = sum + PANEL * dim, *scores = near + SPAN * dim;
    float top[PANEL], total[PANEL];
    int32_t sees_from[PANEL], sees_to[PANEL];
    memset(query, 0, sizeof(float) * 2 * PANEL * dim);                       /* and the sums */
    for (int64_t l = 0; l < PANEL; l++) {                                    /* lines beyond the last see what that sees */
        const int64_t token = l < lines ? l / group : tokens - 1, last = first_end + token;
        sees_to[l] = last;
        sees_from[l] = first_slot(c, padding, last);
        top[l] = -INFINITY;
        total[l] = 0;
        const num_t *head = q + token * q_step + l % group * dim;
        for (int64_t d = 0; d < dim && l < lines; d++) query[d * PANEL + l] = load(head[d]) * c->scale;
    }
    for (int64_t from = start; from < end; from += SPAN) {
        const int64_t to = from + SPAN < end ? from + SPAN : end, slots = to - from, tiles = (slots + TALL - 1) / TALL;
        float *score = scores + (from - start) * PANEL;
        gather(k, table, from, to, block_size, step, dim, near);
        for (int64_t t = 0; t < tiles; t++) {
            const int64_t s = slots * t / tiles, tall = slots * (t + 1) / tiles - s;
            tile_of(near + s * dim, dim, 1, zeros, query, 0, score + s * PANEL, PANEL, dim, PANEL, 0, tall, 0);
        }
        if (c->softcap > 0) for (int64_t i = 0; i < slots * PANEL; i++) score[i] = c->softcap * tanhf(score[i] / c->softcap);
        for (int64_t s = from; s < to; s++, score += PANEL) {
            if (s >= first_end || s < last_start)                            /* not all lines see it */
                for (int64_t l = 0; l < PANEL; l++) score[l] = s >= sees_from[l] && s < sees_to[l] ? score[l] : -INFINITY;
            for (int64_t l = 0; l < PANEL; l++) top[l] = score[l] > top[l] ? score[l] : top[l];
        }
    }
    for (int64_t from = start; from < end; from += SPAN) {
        const int64_t to = from + SPAN < end ? from + SPAN : end, tiles = (dim + TALL - 1) / TALL;
        float *score = scores + (from - start) * PANEL, *weight = score;
        for (int64_t s = from; s < to; s++, weight += PANEL)
            for (int64_t l = 0; l < PANEL; l++) {
                weight[l] = weight[l] == -INFINITY ? 0 : exp_negative(weight[l] - top[l]);
                total[l] += weight[l];
            }
        gather(v, table, from, to, block_size, step, dim, near);
        for (int64_t t = 0; t < tiles; t++) {
            const int64_t d = dim * t / tiles, tall = dim * (t + 1) / tiles - d;
            tile_of(near + d, 1, dim, zeros, score, 0, sum + d * PANEL, PANEL, to - from, PANEL, 1, tall, 0);
        }
    }
    for (int64_t l = 0; l < PANEL; l++) total[l] = 1 / total[l];
    for (int64_t d = 0; d < dim; d++)
        for (int64_t l = 0; l < PANEL; l++) sum[d * PANEL + l] *= total[l];
    for (int64_t l = 0; l < lines; l++) {
        num_t *into = out + l / group * out_step + l % group * dim;
        for (int64_t d = 0; d < dim; d++) into[d] = save(sum[d * PANEL + l]);
    }
}

/* Numbers of scratch that a thread needs. */
static int64_t scratch_size(const struct step *s)
{
    const int64_t own = s->together * (s->heads / s->kv_heads), lines = own > PANEL ? own : PANEL;
    return lines * (s->longest + 2 * s->dim) + SPAN * s->dim;
}

static float *scratch_for(const struct step *s) { return aligned_alloc(64, (sizeof(float) * scratch_size(s) + 63) / 64 * 64); }

/* All rows of a step: q, out [tokens, heads, dim], whose tokens lie q_step and out_step apart; out may be q. Shared. */
static void attend_rows(const struct step *s, const struct cache *c, const num_t *q, int64_t q_step, num_t *out,
                        int64_t out_step, float *scratch)
{
    const int64_t group = s->heads / s->kv_heads, parts = s->kv_heads / s->together;
#pragma omp for schedule(static, 1)
    for (int64_t i = 0; i < s->num_tasks * parts; i++) {
        const int32_t *task = s->tasks + i / parts * 5, *table = s->tables + task[0] * s->table_width;
        const int64_t tokens = task[2], padding = task[3], end = task[4], first = i % parts * s->together;
        const num_t *own = q + task[1] * q_step;
        num_t *into = out + task[1] * out_step;
        if (tokens > 1)
            for (int64_t h = first; h < first + s->together; h++)
                attend_many(s, c, own + h * group * s->dim, q_step, c->k + h * s->dim, c->v + h * s->dim,
                            into + h * group * s->dim, out_step, table, padding, end, tokens, scratch);
        else {
            const int64_t at = first * group * s->dim, start = first_slot(c, padding, end);
#define ATTEND(DIM) \
    attend_one(s, c, own + at, c->k + first * s->dim, c->v + first * s->dim, into + at, table, start, end, DIM, scratch)
            if (s->dim == 64) ATTEND(64); else if (s->dim == 128) ATTEND(128); else ATTEND(s->dim);
#undef ATTEND
        }
    }
}

/* Returns 0, or 1 if there was no memory for the scratch lines. */
int attend(const struct step *s, const struct cache *c, const num_t *q, int64_t q_step, num_t *out, int64_t out_step)
{
    int failed = 0;
#pragma omp parallel
    {
        float *scratch = scratch_for(s);
        if (!scratch) {
#pragma omp atomic write
            failed = 1;
        }
#pragma omp barrier
        if (!failed) attend_rows(s, c, q, q_step, out, out_step, scratch);
        free(scratch);
    }
    return failed;
}

#ifndef BF16
/* How far a thread has come in having the blocks brought that its own tasks of one token will read: task unit, from slot on.
 * Products leave memory idle where rows are many; attention then finds its keys and values in the caches. */
struct soon {
    const struct step *step;
    const struct cache *cache;        /* null: there is nothing to come */
    int64_t unit, slot;
};

/* Wish for the next such block, bit by bit during a tile of so many lines. */
static void next_block(struct soon *soon, struct wish *wish, int64_t lines)
{
    const struct step *s = soon->step;
    const int64_t parts = s->kv_heads / s->together, width = s->kv_heads * s->dim;
    wish->k = wish->v = wish->panel;
    while (soon->cache && soon->unit < s->num_tasks * parts) {
        const int64_t number = soon->unit / parts;
        const int32_t *task = s->tasks + number * 5, *table = s->tables + task[0] * s->table_width;
        const int64_t start = first_slot(soon->cache, task[3], task[4]), slot = soon->slot > start ? soon->slot : start;
        if (task[2] == 1 && slot < task[4]) {
            wish->k = (const char *)row_at(soon->cache->k, table, slot, s->block_size, width);
            wish->v = (const char *)row_at(soon->cache->v, table, slot, s->block_size, width);
            wish->kv_pace = (s->block_size * width * sizeof(num_t) + lines - 1) / lines;
            soon->slot = (slot / s->block_size + 1) * s->block_size;
            return;
        }
        while (soon->unit / parts == number) soon->unit += omp_get_num_threads();
        soon->slot = 0;
    }
}

/* A weight [out, in] and its bias [out], filled up to whole panels. If all its numbers are bfloat16 ones, as in most
 * published models, it is kept as ``halves``: nothing is lost, and half as much comes from memory. */
struct weight {
    const float *panels, *bias;
    int64_t halves, in, out;
};

static int64_t panels_of(const struct weight *w) { return (w->out + PANEL - 1) / PANEL; }
static int64_t lines_of(const struct weight *w) { return w->halves ? (w->in + 1) / 2 : w->in; }

/* Who does how much: thread number ``me`` of the ``team`` that works on the same rows. */
struct share {
    int64_t me, team;
};

static struct share whole_team(void) { return (struct share){omp_get_thread_num(), omp_get_num_threads()}; }
static int64_t begin_of(int64_t n, struct share mine) { return n * mine.me / mine.team; }
static int64_t end_of(int64_t n, struct share mine) { return n * (mine.me + 1) / mine.team; }

static void wait_for(struct share mine)
{
    if (mine.team > 1) {
#pragma omp barrier
    }
}

/* A share of y [rows, out] = x [rows, in] times weight, plus bias; or of that added to y. Rows lie x_step and y_step apart.
 * next: the weight that comes after this one, or null. */
static void product(const float *x, int64_t x_step, const struct weight *w, float *y, int64_t y_step, int64_t rows, int add,
                    struct share mine, struct soon *soon, const struct weight *next)
{
    const int64_t count = panels_of(w), lines = lines_of(w), tiles = (rows + TALL - 1) / TALL;
    for (int64_t n = begin_of(count * tiles, mine); n < end_of(count * tiles, mine); n++) {
        const int64_t p = n / tiles, t = n % tiles;            /* rows are shared out evenly: no tile of one or two is left */
        const int64_t from = rows * t / tiles, tall = rows * (t + 1) / tiles - from;
        const int64_t wide = w->out - p * PANEL < PANEL ? w->out - p * PANEL : PANEL, pace = sizeof(float) * PANEL / tiles;
        const float *panel = w->panels + p * lines * PANEL, *then = panel + lines * PANEL;
        if (next && p + 1 == end_of(count, mine))
            then = next->panels + begin_of(panels_of(next), mine) * lines_of(next) * PANEL;
        struct wish wish = {.panel = (const char *)then + t * lines * pace, .pace = pace};
        if (soon) next_block(soon, &wish, lines);
#define PRODUCT(HALVES) tile_of(x + from * x_step, x_step, 1, w->bias + p * PANEL, panel, HALVES, y + from * y_step + p * PANEL, \
                                y_step, w->in, wide, add, tall, &wish)
        if (w->halves) PRODUCT(1); else PRODUCT(0);
#undef PRODUCT
    }
}

/* x [rows, in], y [rows, out] */
void linear(const float *x, const struct weight *w, float *y, int64_t rows)
{
#pragma omp parallel if (rows * w->in * w->out > 16 * SHARED_WORK)
    product(x, w->in, w, y, w->out, rows, 0, whole_team(), 0, 0);
}
#endif

/* Copy a token's k and v [width] to its slot in the caches. */
static inline void store_token(const struct cache *c, const num_t *k, const num_t *v, int64_t slot, int64_t width)
{
    memcpy(c->k + slot * width, k, sizeof(num_t) * width);
    memcpy(c->v + slot * width, v, sizeof(num_t) * width);
}

/* k, v [tokens, width], whose rows lie k_step and v_step apart. */
void store(const struct cache *c, const num_t *k, int64_t k_step, const num_t *v, int64_t v_step, const int64_t *slots,
           int64_t tokens, int64_t width)
{
    for (int64_t t = 0; t < tokens; t++) store_token(c, k + t * k_step, v + t * v_step, slots[t], width);
}

/* out = x / rms(x) * weight of one row; the quotient is rounded before it is weighted, as torch does it. out may be x. */
static void norm_row(const num_t *x, const num_t *weight, num_t *out, int64_t width, float eps)
{
    float squares = 0;
    for (int64_t i = 0; i < width; i++) squares += load(x[i]) * load(x[i]);
    const float scale = 1.0f / sqrtf(squares / width + eps);
#pragma omp simd
    for (int64_t i = 0; i < width; i++) out[i] = save(load(save(load(x[i]) * scale)) * load(weight[i]));
}

void rms_norm(const num_t *x, const num_t *weight, num_t *out, int64_t rows, int64_t width, float eps)
{
#pragma omp parallel for if (rows * width > SHARED_WORK)
    for (int64_t r = 0; r < rows; r++) norm_row(x + r * width, weight, out + r * width, width, eps);
}

/* Rotary embedding of one token's heads in place: x [heads, dim]; cosine, sine [dim], the first half of sine negated. */
static void rotate_row(num_t *x, const num_t *cosine, const num_t *sine, int64_t heads, int64_t dim)
{
    const int64_t half = dim / 2;
    for (int64_t h = 0; h < heads; h++) {
        num_t *low = x + h * dim, *high = low + half;
        for (int64_t i = 0; i < half; i++) {
            const float a = load(low[i]), b = load(high[i]);
            low[i] = save(a * load(cosine[i]) + b * load(sine[i]));
            high[i] = save(b * load(cosine[i + half]) + a * load(sine[i + half]));
        }
    }
}

/* x [rows, heads, dim], whose rows lie step apart; cosine, sine [rows, dim] */
void rotate(num_t *x, const num_t *cosine, const num_t *sine, int64_t rows, int64_t heads, int64_t dim, int64_t step)
{
#pragma omp parallel for if (rows * heads * dim > SHARED_WORK)
    for (int64_t r = 0; r < rows; r++) rotate_row(x + r * step, cosine + r * dim, sine + r * dim, heads, dim);
}

/* out = silu(gate) * up of one row [gate, up], width numbers each; out may be gate. */
static void silu_row(const num_t *gate_up, num_t *out, int64_t width)
{
#pragma omp simd
    for (int64_t i = 0; i < width; i++) {
        const float gate = load(gate_up[i]), e = exp_negative(gate < 0 ? gate : -gate);
        out[i] = save(gate * (gate < 0 ? e : 1.0f) / (1.0f + e) * load(gate_up[width + i]));
    }
}

void silu_mul(const num_t *gate_up, num_t *out, int64_t rows, int64_t width)
{
#pragma omp parallel for if (rows * width > SHARED_WORK)
    for (int64_t r = 0; r < rows; r++) silu_row(gate_up + r * 2 * width, out + r * width, width);
}

#ifndef BF16
/* A decoder layer of the Llama family: norms [hidden] (those of queries and keys [dim], or null), products. */
struct layer {
    const float *input_norm, *post_norm, *q_norm, *k_norm;
    struct weight qkv, o, gate_up, down;
};

/* How far apart a buffer's rows begin: further than they are long, or those of a tile might crowd into few cache sets. */
static int64_t apart(int64_t width) { return (width + LANES - 1) / LANES * LANES + LANES; }

/* Numbers of buffers that ``layers`` needs. */
int64_t layers_size(const struct step *s, int64_t tokens, int64_t hidden, int64_t inner)
{
    return tokens * (apart(hidden) + apart((s->heads + 2 * s->kv_heads) * s->dim) + apart(2 * inner));
}

/* All layers of decoder.Decoder.hidden, in place: x [tokens, hidden]; cosine, sine [tokens, dim]; slots [tokens].
 * After the last layer's attention only the rows ``wanted`` (in rising order) go on, and are the first ones of x at the end.
 *
 * Few rows: all threads work on all of them, each with its part of a weight, which is read once. Many: each thread works
 * on its own, a BLOCK at a time, whose numbers stay in its cache from one product to the next; only attention needs those
 * of others.
 * Returns 0, or 1 if there was no memory for the scratch lines. */
#define BLOCK (5 * TALL)
int layers(const struct layer *layer, int64_t count, const struct cache *caches, const struct step *s, float *x,
           const float *cosine, const float *sine, const int64_t *slots, int64_t tokens, const int64_t *wanted,
           int64_t num_wanted, int64_t hidden, int64_t inner, float eps, float *buffers)
{
    const int64_t heads = s->heads + s->kv_heads, q_width = s->heads * s->dim, kv_width = s->kv_heads * s->dim;
    const int64_t h_step = apart(hidden), qkv_step = apart(q_width + 2 * kv_width), mlp_step = apart(2 * inner);
    float *h_rows = buffers, *qkv_rows = h_rows + tokens * h_step, *mlp_rows = qkv_rows + tokens * qkv_step;
    int failed = 0;
#pragma omp parallel
    {
        const struct share all = whole_team();
        struct soon soon = {s, caches, all.me, 0};
        struct share mine;
        int64_t rows = tokens, first, last, block;
        float *scratch = scratch_for(s);
        if (!scratch) {
#pragma omp atomic write
            failed = 1;
        }
#pragma omp barrier
        for (int64_t i = 0; i < count && !failed; i++) {
            const struct layer *own = layer + i;
            const struct cache *cache = caches + i;
#define SHARE_ROWS                                                                                            \
    if (rows >= BLOCK * all.team) {                                                                           \
        mine = (struct share){0, 1}, first = begin_of(rows, all), last = end_of(rows, all), block = BLOCK;    \
    } else mine = all, first = 0, last = block = rows;
#define MY_ROWS for (int64_t r = begin_of(n, mine); r < end_of(n, mine); r++)
            SHARE_ROWS
            for (int64_t at = first; at < last; at += block) {
                const int64_t n = last - at < block ? last - at : block;
                float *in = x + at * hidden, *h = h_rows + at * h_step, *qkv = qkv_rows + at * qkv_step;
                MY_ROWS norm_row(in + r * hidden, own->input_norm, h + r * h_step, hidden, eps);
                wait_for(mine);
                product(h, h_step, &own->qkv, qkv, qkv_step, n, 0, mine, &soon, &own->o);
                wait_for(mine);
                MY_ROWS {
                    float *q = qkv + r * qkv_step, *k = q + q_width;
                    for (int64_t m = 0; own->q_norm && m < heads; m++)
                        norm_row(q + m * s->dim, m < s->heads ? own->q_norm : own->k_norm, q + m * s->dim, s->dim, eps);
                    rotate_row(q, cosine + (at + r) * s->dim, sine + (at + r) * s->dim, heads, s->dim);
                    store_token(cache, k, k + kv_width, slots[at + r], kv_width);
                }
            }
#pragma omp barrier
            attend_rows(s, cache, qkv_rows, qkv_step, qkv_rows, qkv_step, scratch);    /* the answer takes the query's place */
            soon = (struct soon){s, i + 1 < count ? cache + 1 : 0, all.me, 0};
            if (i == count - 1 && num_wanted < rows) {
#pragma omp single
                for (int64_t r = 0; r < num_wanted; r++) {
                    memmove(x + r * hidden, x + wanted[r] * hidden, sizeof(float) * hidden);
                    memmove(qkv_rows + r * qkv_step, qkv_rows + wanted[r] * qkv_step, sizeof(float) * q_width);
                }
                rows = num_wanted;
                SHARE_ROWS
            }
            for (int64_t at = first; at < last; at += block) {
                const int64_t n = last - at < block ? last - at : block;
                float *out = x + at * hidden, *h = h_rows + at * h_step, *mlp = mlp_rows + at * mlp_step;
                product(qkv_rows + at * qkv_step, qkv_step, &own->o, out, hidden, n, 1, mine, &soon, &own->gate_up);
                wait_for(mine);
                MY_ROWS norm_row(out + r * hidden, own->post_norm, h + r * h_step, hidden, eps);
                wait_for(mine);
                product(h, h_step, &own->gate_up, mlp, mlp_step, n, 0, mine, &soon, &own->down);
                wait_for(mine);
                MY_ROWS silu_row(mlp + r * mlp_step, mlp + r * mlp_step, inner);
                wait_for(mine);
                product(mlp, mlp_step, &own->down, out, hidden, n, 1, mine, &soon, i + 1 < count ? &own[1].qkv : 0);
                wait_for(mine);
            }
#undef SHARE_ROWS
#undef MY_ROWS
        }
        free(scratch);
    }
    return failed;
}
#endif
