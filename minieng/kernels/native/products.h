/* Matrix products. A weight is laid out in panels of PANEL outputs, so that it streams through in the order
 * in which it lies in memory. A tile is up to TALL rows by one panel, all of it in registers. */
#ifdef __AVX512F__
#define WIDE 3
#define TALL 9 /* 27 of 32 registers for sums, 3 for a line of the panel */
#else
#define WIDE 1 /* a vec is two registers of AVX2 or four of NEON */
#define TALL 6
#endif
#define PANEL (WIDE * LANES)
#define LINES_AHEAD 16 /* lines of a panel that are asked for before they are used */

EXPORT int64_t native_panel_width(void) { return PANEL; }

/* What memory is to bring into the second cache while a tile is worked through, and how many bytes of it a
 * line: the next panel, and keys and values that attention will read. */
struct prefetch {
    const char *panel, *k, *v;
    int64_t panel_bytes, kv_bytes;
};

/* y = start + x times panel. Number i of row r is x[r * row_step + i * step]; start [PANEL]; panel [inner,
 * PANEL], or in halves two lines woven into one of words, the earlier one's bfloat16 in the lower half; y
 * [rows, wide] of a matrix whose rows lie y_step apart. */
struct tile {
    const float *x;
    int64_t row_step, step, inner;
    const float *start, *panel;
    float *y;
    int64_t y_step, wide;
};

/* Add a line of the panel, times each row's number of it, to the sums. */
INLINE void add_line(vec sum[][WIDE], const float *x, int64_t row_step, const vec *line, const int64_t rows) {
    for (int64_t r = 0; r < rows; r++)
        for (int64_t c = 0; c < WIDE; c++) sum[r][c] += x[r * row_step] * line[c];
}

/* One line's worth of what memory is to bring. */
INLINE void prefetch_line(struct prefetch *ahead, const float *panel) {
    for (int64_t c = 0; c < WIDE; c++) __builtin_prefetch(panel + LINES_AHEAD * PANEL + c * LANES, 0, 2);
    __builtin_prefetch(ahead->panel, 0, 2);
    __builtin_prefetch(ahead->panel + 64, 0, 2);
    __builtin_prefetch(ahead->k, 0, 2);
    __builtin_prefetch(ahead->v, 0, 2);
    ahead->panel += ahead->panel_bytes;
    ahead->k += ahead->kv_bytes;
    ahead->v += ahead->kv_bytes;
}

/* Write the sums of a tile to y, or add them to it. */
INLINE void put_tile(struct tile t, vec sum[TALL][WIDE], const int64_t rows, int add) {
    for (int64_t r = 0; r < rows; r++) {
        float *into = t.y + r * t.y_step;
        if (add && t.wide == PANEL)
            for (int64_t c = 0; c < WIDE; c++) sum[r][c] += floats(into + c * LANES);
        else if (add)
            for (int64_t i = 0; i < t.wide; i++) sum[r][i / LANES][i % LANES] += into[i];
        memcpy(into, sum[r], sizeof(float) * t.wide);
    }
}

/* One tile; prefetch: what memory is to bring meanwhile, or null. Always inlined: with literal numbers for
 * rows and halves all sums stay in registers. */
INLINE void tile_of_rows(struct tile t, const int64_t rows, const int halves, int add,
                         const struct prefetch *prefetch) {
    struct prefetch ahead = prefetch ? *prefetch : (struct prefetch){0};
    const float *panel = t.panel;
    vec sum[TALL][WIDE], line[WIDE];
    for (int64_t r = 0; r < rows; r++)
        for (int64_t c = 0; c < WIDE; c++) {
            sum[r][c] = floats(t.start + c * LANES);
            if (prefetch) __builtin_prefetch(t.y + r * t.y_step + c * LANES, 1);
        }
    for (int64_t i = 0; i < t.inner; i += 1 + halves, panel += PANEL) {
        if (prefetch) prefetch_line(&ahead, panel);
        for (int64_t c = 0; c < WIDE; c++)
            line[c] = halves ? lower(panel + c * LANES) : floats(panel + c * LANES);
        add_line(sum, t.x + i * t.step, t.row_step, line, rows);
        if (halves && i + 1 < t.inner) {
            for (int64_t c = 0; c < WIDE; c++) line[c] = upper(panel + c * LANES);
            add_line(sum, t.x + (i + 1) * t.step, t.row_step, line, rows);
        }
    }
    put_tile(t, sum, rows, add);
}

/* The same for a number of rows, up to TALL, that is known only when it runs. */
INLINE void multiply(struct tile t, int64_t rows, const int halves, int add,
                     const struct prefetch *prefetch) {
    switch (rows) {
    case 1: tile_of_rows(t, 1, halves, add, prefetch); break;
    case 2: tile_of_rows(t, 2, halves, add, prefetch); break;
    case 3: tile_of_rows(t, 3, halves, add, prefetch); break;
    case 4: tile_of_rows(t, 4, halves, add, prefetch); break;
    case 5: tile_of_rows(t, 5, halves, add, prefetch); break;
    case 6: tile_of_rows(t, 6, halves, add, prefetch); break;
#if TALL > 6
    case 7: tile_of_rows(t, 7, halves, add, prefetch); break;
    case 8: tile_of_rows(t, 8, halves, add, prefetch); break;
    case 9: tile_of_rows(t, 9, halves, add, prefetch); break;
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
        multiply(part, rows * (i + 1) / tiles - from, 0, add, 0);
    }
}

#ifndef BF16
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
    float *x;
    int64_t step;
};

struct upcoming_kv; /* see attention.h */
static void prefetch_next_block(struct upcoming_kv *kv, struct prefetch *prefetch, int64_t lines);

/* y [rows, out] = x [rows, in] times weight, plus bias; or that added to y. Rows are shared out evenly among
 * tiles, so that none of one or two is left; a piece is a tile. w: null for a thread that works for itself.
 * next, kv: what comes after, to be brought meanwhile, or null. */
static void product(struct matrix x, const struct weight *weight, struct matrix y, int64_t rows, int add,
                    struct worker *w, const struct weight *next, struct upcoming_kv *kv) {
    const int64_t count = panels_of(weight), lines = lines_of(weight), tiles = (rows + TALL - 1) / TALL;
    const int64_t me = w ? w->me : 0, team = w ? w->team->size : 1, last = begin_of(count, me + 1, team) - 1;
    const int64_t first_of_next = next ? begin_of(panels_of(next), me, team) * lines_of(next) : 0;
    struct tile t = {.row_step = x.step, .step = 1, .inner = weight->in, .y_step = y.step};
    struct prefetch ahead = {.panel_bytes = tiles ? sizeof(float) * PANEL / tiles : 0};
    EACH (n, count * tiles, w) {
        const int64_t p = n / tiles, i = n % tiles, from = rows * i / tiles, left = weight->out - p * PANEL;
        const float *panel = weight->panels + p * lines * PANEL, *next_panel = panel + lines * PANEL;
        if (next && p == last) next_panel = next->panels + first_of_next * PANEL;
        ahead.panel = (const char *)next_panel + i * lines * ahead.panel_bytes;
        ahead.kv_bytes = 0;
        if (kv) prefetch_next_block(kv, &ahead, lines);
        t.x = x.x + from * x.step, t.y = y.x + from * y.step + p * PANEL,
        t.wide = left < PANEL ? left : PANEL;
        t.start = weight->bias + p * PANEL, t.panel = panel;
        const int64_t tall = rows * (i + 1) / tiles - from;
        if (weight->halves) multiply(t, tall, 1, add, &ahead);
        else multiply(t, tall, 0, add, &ahead);
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
EXPORT void native_product(float *x, const struct weight *weight, float *y, int64_t rows, int64_t threads) {
    const struct product_call job = {weight, {x, weight->in}, {y, weight->out}, rows};
    run_team(one_product, &job, rows * weight->in * weight->out > 16 * SHARED_WORK ? threads : 1);
}
#endif
