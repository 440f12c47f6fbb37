/* Matrix products. A weight is laid out in panels of PANEL outputs, so that it streams through in the order
 * in which it lies in memory. A tile is up to TALL rows by one panel, all of it in registers. */
#define PANEL (WIDE * LANES)
#if defined __AVX512BF16__ && defined BF16 && !defined WIDENED
#include <immintrin.h>
#define PAIRWISE /* the processor adds up products of two bfloat16 pairs at once */
#endif
#if defined PAIRWISE || !defined BF16 || defined WIDENED
#define PRODUCTS /* for bfloat16 as it lies in memory only where it is pairwise: oneDNN knows the rest       \
                    better */
#endif
#define LINES_AHEAD 16 /* lines of a panel that are asked for before they are used */

EXPORT int64_t native_panel_width(void) { return PANEL; }

/* What memory is to bring into the second cache while a tile is worked through, and how many bytes of it a
 * line: the next panel, and keys and values that attention will read. __builtin_prefetch(address, 0 to read
 * or 1 to write, 2 for the second cache) asks for a cache line, 64 bytes, and does not wait; an address past
 * the end of an array does no harm. */
struct prefetch {
    const char *panel, *k, *v;
    int64_t panel_bytes, kv_bytes;
};

/* How numbers are multiplied: floats with floats, floats with halves (two lines of a panel woven into one of
 * words, the earlier one's bfloat16 in the lower half), or pairs of bfloat16 with halves. For the compiler a
 * panel is floats in all forms; woven, each 32 bits are two halves. */
enum form { FLOATS, HALVES, PAIRS };

/* y = start + x times panel. Number i of row r is at byte r * row_step + i * step of x: a float, or a
 * bfloat16 of a pair where the form says so. start [PANEL]: where the sums begin, at a bias or 0; panel
 * [inner, PANEL], in halves [inner / 2, PANEL]; y [rows, wide] of a matrix whose rows lie y_step apart. A
 * product has out in place of y: there sums are saved. */
struct tile {
    const void *x;
    int64_t row_step, step, inner;
    const float *start, *panel;
    float *y;
    int64_t y_step, wide;
    num_t *out;
};

/* A sum of products, and those of two bfloat16 pairs. */
#ifdef PAIRWISE
typedef int32_t pair_anywhere __attribute__((aligned(2), may_alias));
INLINE vec plus_pairs(vec sum, const void *pair, vec line) {
    const __m512i pairs = _mm512_set1_epi32(*(const pair_anywhere *)pair);
    return (vec)_mm512_dpbf16_ps((__m512)sum, (__m512bh)pairs, (__m512bh)line);
}
#else
#define plus_pairs(sum, pair, line) (sum)
#endif

/* Add a line of the panel, times each row's number (or pair) of it, to the sums. Every third row gets an
 * address, the others lie one or two steps further: with nine addresses GCC keeps some in vector registers,
 * and fetches them from there while it could multiply. */
INLINE void add_line(vec sum[][WIDE], const void *x, int64_t row_step, const vec *line, const int64_t rows,
                     const enum form form) {
    for (int64_t r = 0; r < rows; r++) {
        if (r && r % 3 == 0) x += 3 * row_step;
        if (r % 3 == 0) LOAD_ANEW(x);
        for (int64_t c = 0; c < WIDE; c++)
            if (form == PAIRS) sum[r][c] = plus_pairs(sum[r][c], x + r % 3 * row_step, line[c]);
            else sum[r][c] += *(const float *)(x + r % 3 * row_step) * line[c];
    }
}

/* One line's worth of what memory is to bring: a line of this panel, LINES_AHEAD further on; two cache lines
 * of the next panel; one each of keys and values. */
INLINE void prefetch_line(struct prefetch *ahead, const float *panel) {
    for (int64_t c = 0; c < PANEL; c += 16) __builtin_prefetch(panel + LINES_AHEAD * PANEL + c, 0, 2);
    __builtin_prefetch(ahead->panel, 0, 2);
    __builtin_prefetch(ahead->panel + 64, 0, 2);
    __builtin_prefetch(ahead->k, 0, 2);
    __builtin_prefetch(ahead->v, 0, 2);
    ahead->panel += ahead->panel_bytes;
    ahead->k += ahead->kv_bytes;
    ahead->v += ahead->kv_bytes;
}

/* Write a row's sums to out as numbers are saved, or add them to it; wide: how many there are. */
INLINE void save_row(num_t *out, vec *sum, const int64_t wide, int add) {
    num_t line[PANEL];
    if (add) memcpy(line, out, sizeof(num_t) * wide);
    for (int64_t c = 0; c < WIDE; c++) {
        const vec x = as_saved(sum[c]);
        put_numbers(line + c * LANES, add ? numbers(line + c * LANES) + x : x);
    }
    memcpy(out, line, sizeof(num_t) * wide);
}

/* One tile, of a product (sums go to out, as they are saved; prefetch: what memory is to bring meanwhile) or
 * of attention (prefetch null; sums go to y, as floats). Always inlined: with literal numbers for rows and
 * form the loops over them are unrolled, and all sums stay in registers. */
INLINE void tile_of_rows(struct tile t, const int64_t rows, const enum form form, int add,
                         const struct prefetch *prefetch) {
    struct prefetch ahead = prefetch ? *prefetch : (struct prefetch){0};
    const float *panel = t.panel;
    vec sum[TALL][WIDE], line[WIDE];
    for (int64_t r = 0; r < rows; r++)
        for (int64_t c = 0; c < WIDE; c++) {
            sum[r][c] = floats(t.start + c * LANES);
            if (prefetch) __builtin_prefetch(t.out + r * t.y_step + c * LANES, 1);
        }
    for (int64_t i = 0; i < t.inner; i += form == FLOATS ? 1 : 2, panel += PANEL) {
        if (prefetch) prefetch_line(&ahead, panel);
        for (int64_t c = 0; c < WIDE; c++)
            line[c] = form == HALVES ? lower(panel + c * LANES) : floats(panel + c * LANES);
        add_line(sum, t.x + i * t.step, t.row_step, line, rows, form);
        if (form == HALVES && i + 1 < t.inner) {
            const float *again = panel;
            LOAD_ANEW(again);
            for (int64_t c = 0; c < WIDE; c++) line[c] = upper(again + c * LANES);
            add_line(sum, t.x + (i + 1) * t.step, t.row_step, line, rows, form);
        }
    }
    for (int64_t r = 0; r < rows; r++) {
        vec done[WIDE]; /* a copy: sums whose address is handed on would be kept in memory */
        for (int64_t c = 0; c < WIDE; c++) done[c] = sum[r][c];
        if (prefetch && t.wide == PANEL) /* a size that is a literal number: memcpy needs no call */
            save_row(t.out + r * t.y_step, done, PANEL, add);
        else if (prefetch) save_row(t.out + r * t.y_step, done, t.wide, add);
        else
            for (int64_t c = 0, at = r * t.y_step; c < WIDE; c++, at += LANES)
                put(t.y + at, add ? floats(t.y + at) + done[c] : done[c]);
    }
}

/* The same for a number of rows, up to TALL, that is known only when it runs. */
INLINE void multiply(struct tile t, int64_t rows, const enum form form, int add,
                     const struct prefetch *prefetch) {
    switch (rows) {
    case 1: tile_of_rows(t, 1, form, add, prefetch); break;
    case 2: tile_of_rows(t, 2, form, add, prefetch); break;
    case 3: tile_of_rows(t, 3, form, add, prefetch); break;
    case 4: tile_of_rows(t, 4, form, add, prefetch); break;
    case 5: tile_of_rows(t, 5, form, add, prefetch); break;
    case 6: tile_of_rows(t, 6, form, add, prefetch); break;
#if TALL > 6
    case 7: tile_of_rows(t, 7, form, add, prefetch); break;
    case 8: tile_of_rows(t, 8, form, add, prefetch); break;
    case 9: tile_of_rows(t, 9, form, add, prefetch); break;
#endif
    }
}

/* Any number of rows, without prefetches: y = x times panel, or that added to y. */
static const float zeros[PANEL];
INLINE void multiply_rows(struct tile t, int64_t rows, int add) {
    const int64_t tiles = (rows + TALL - 1) / TALL;
    for (int64_t i = 0; i < tiles; i++) {
        const int64_t from = rows * i / tiles;
        struct tile part = t;
        part.x += from * t.row_step;
        part.y += from * t.y_step;
        multiply(part, rows * (i + 1) / tiles - from, FLOATS, add, 0);
    }
}

#ifdef PRODUCTS
/* A weight [out, in] and its bias [out], filled up to whole panels. If all its numbers are bfloat16 ones, as
 * in most published models, it is kept as ``halves``: nothing is lost, and half as much comes from memory. */
struct weight {
    const float *panels, *bias;
    int64_t halves, in, out;
};

static int64_t panels_of(const struct weight *w) { return (w->out + PANEL - 1) / PANEL; }
static int64_t lines_of(const struct weight *w) { return w->halves ? (w->in + 1) / 2 : w->in; }

/* Rows of a matrix that lie ``step`` numbers apart. */
struct matrix {
    num_t *x;
    int64_t step;
};

struct upcoming_kv; /* see attention.h */
static void prefetch_next_block(struct upcoming_kv *kv, struct prefetch *prefetch, int64_t lines);

/* y [rows, out] = x [rows, in] times weight, plus bias; or that added to y. Rows are shared out evenly among
 * tiles, so that none of one or two is left; a piece is a tile, and all tiles of a panel come one after the
 * other, each asking for its part of the next panel. w: null for a thread that works for itself. next, kv:
 * what comes after, to be brought meanwhile, or null. */
static void product(struct matrix x, const struct weight *weight, struct matrix y, int64_t rows, int add,
                    struct worker *w, const struct weight *next, struct upcoming_kv *kv) {
    const int64_t count = panels_of(weight), lines = lines_of(weight), tiles = (rows + TALL - 1) / TALL;
    const int64_t me = w ? w->me : 0, team = w ? w->team->size : 1, last = begin_of(count, me + 1, team) - 1;
    const int64_t first_of_next = next ? begin_of(panels_of(next), me, team) * lines_of(next) : 0;
    struct tile t = {.step = sizeof(num_t), .inner = weight->in, .y_step = y.step};
    t.row_step = x.step * t.step;
    struct prefetch ahead = {.panel_bytes = tiles ? sizeof(float) * PANEL / tiles : 0};
    EACH (n, count * tiles, w) {
        const int64_t p = n / tiles, i = n % tiles, from = rows * i / tiles, left = weight->out - p * PANEL;
        const float *panel = weight->panels + p * lines * PANEL, *next_panel = panel + lines * PANEL;
        if (next && p == last) next_panel = next->panels + first_of_next * PANEL;
        ahead.panel = (const char *)next_panel + i * lines * ahead.panel_bytes;
        ahead.k = ahead.v = ahead.panel, ahead.kv_bytes = 0; /* a line that is asked for anyway */
        if (kv) prefetch_next_block(kv, &ahead, lines);
        t.out = y.x + from * y.step + p * PANEL, t.wide = left < PANEL ? left : PANEL;
        t.start = weight->bias + p * PANEL, t.panel = panel;
        const int64_t tall = rows * (i + 1) / tiles - from;
        t.x = x.x + from * x.step;
#ifdef PAIRWISE
        multiply(t, tall, PAIRS, add, &ahead);
#else
        if (weight->halves) multiply(t, tall, HALVES, add, &ahead);
        else multiply(t, tall, FLOATS, add, &ahead);
#endif
    }
}

struct product_call {
    const struct weight *weight;
    struct matrix x, y;
    int64_t rows;
};

static void one_product(const void *job, struct worker *w) {
    const struct product_call *c = job;
    product(c->x, c->weight, c->y, c->rows, 0, w, 0, 0);
}

/* x [rows, in], y [rows, out] */
EXPORT void native_product(num_t *x, const struct weight *weight, num_t *y, int64_t rows, int64_t threads) {
    const struct product_call job = {weight, {x, weight->in}, {y, weight->out}, rows};
    run_team(one_product, &job, rows * weight->in * weight->out > 16 * SHARED_WORK ? threads : 1);
}
#endif
