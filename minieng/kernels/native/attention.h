/* Attention over a paged cache: one token of a row with its keys as they lie in memory, or several tokens as
 * a product. */

/* A layer's cache: k, v [blocks, block_size, kv_heads, dim]; window: a token sees that many slots, its own
 * among them, 0: all; softcap: 0 for none. */
struct cache {
    kv_t *k, *v;
    int64_t window;
    float scale, softcap;
};

/* Some tokens of one row with some K/V heads. token, tokens: the first one's place in q, and how many;
 * padding: the row's first slot that is none; end: one past the last slot that the first token sees, and each
 * later one sees one more; head, heads: the first, and how many. */
struct task {
    int32_t row, token, tokens, padding, end, head, heads;
};

/* A step's rows: here a row is a request. tables [rows, table_width] name their blocks; tasks [num_tasks],
 * largest first. longest: slots that a task of one token sees, at most. */
struct step {
    const int32_t *tables;
    const struct task *tasks;
    int64_t table_width, num_tasks, longest, heads, kv_heads, dim, block_size;
};

/* A task as a thread works through it: the pointers name the first numbers of its tokens and heads. Tokens
 * lie q_step and out_step apart; out may be q. */
struct piece {
    const num_t *q;
    const kv_t *k, *v;
    num_t *out;
    int64_t q_step, out_step;
    const int32_t *table;
    int64_t tokens, heads, padding, end;
};

/* Slots of a block worked through at a time: their keys lie in the nearest cache for all heads. */
#define STRETCH 16
#define LINES (TALL / 2)     /* query heads of one K/V head worked through at once, four vectors of each */
#define SPAN (16 * TALL)     /* slots gathered at a time for several tokens */
#define PANELS (192 / PANEL) /* of lines that share what was gathered */

/* The first slot that a token sees, if its own is end - 1. Padding sees its own alone: a softmax over nothing
 * is NaN. */
static inline int64_t first_slot(const struct cache *c, int64_t padding, int64_t end) {
    const int64_t first = c->window && end - c->window > padding ? end - c->window : padding;
    return first < end ? first : end - 1;
}

/* Where a row's slot lies in a cache: the table is asked. */
static inline const kv_t *row_at(const struct step *s, const kv_t *cache, const int32_t *table,
                                 int64_t slot) {
    const int64_t at = table[slot / s->block_size] * s->block_size + slot % s->block_size;
    return cache + at * s->kv_heads * s->dim;
}

static inline void cap_scores(float *score, int64_t n, float softcap) {
    if (softcap > 0)
        for (int64_t i = 0; i < n; i++) score[i] = softcap * tanhf(score[i] / softcap);
}

/* One past the last slot of the stretch that begins at s: slots of one block, one after the other in memory.
 */
static inline int64_t stretch_end(int64_t s, int64_t end, int64_t block_size) {
    const int64_t block_end = (s / block_size + 1) * block_size, far = s + STRETCH < end ? s + STRETCH : end;
    return block_end < far ? block_end : far;
}

/* Keys or values of a stretch's slots, ``step`` numbers apart. Meanwhile memory brings as many slots from
 * next on. */
struct stretch {
    const kv_t *first, *next;
    int64_t step, slots;
};

/* Scores [lines, longest] of some lines (query heads) of one K/V head; whole: numbers of a head that fill
 * vectors, the others come one by one. */
INLINE void score_slots(const float *query, struct stretch keys, float *scores, int64_t longest,
                        const int64_t lines, const int64_t dim) {
    const int64_t whole = dim / LANES * LANES;
    for (int64_t s = 0; s < keys.slots; s++, keys.first += keys.step, keys.next += keys.step) {
        vec dot[LINES] = {0};
        for (int64_t d = 0; d < whole; d += LANES) {
            vec key = kv_numbers(keys.first + d);
            KEEP_IN_REGISTER(key);
            __builtin_prefetch(keys.next + d, 0, 2);
            for (int64_t l = 0; l < lines; l++) dot[l] += floats(query + l * dim + d) * key;
        }
        for (int64_t l = 0; l < lines; l++) {
            float total = total_of(dot[l]);
            for (int64_t d = whole; d < dim; d++) total += query[l * dim + d] * load_kv(keys.first[d]);
            scores[l * longest + s] = total;
        }
    }
}

/* Add the values of such slots, each times its weight, to the lines' sums [lines, dim]. */
INLINE void add_values(const float *weights, int64_t longest, struct stretch values, float *sums,
                       const int64_t lines, const int64_t dim) {
    const int64_t whole = dim / LANES * LANES;
    for (int64_t d = 0; d < whole; d += 4 * LANES) { /* four vectors of each line: they stay in registers */
        const int64_t n = whole - d < 4 * LANES ? (whole - d) / LANES : 4;
        vec part[LINES][4];
        for (int64_t l = 0; l < lines; l++) memcpy(part[l], sums + l * dim + d, n * sizeof(vec));
        for (int64_t s = 0; s < values.slots; s++)
            for (int64_t i = 0; i < n; i++) {
                const int64_t at = s * values.step + d + i * LANES;
                vec value = kv_numbers(values.first + at);
                KEEP_IN_REGISTER(value);
                __builtin_prefetch(values.next + at, 0, 2);
                for (int64_t l = 0; l < lines; l++) part[l][i] += weights[l * longest + s] * value;
            }
        for (int64_t l = 0; l < lines; l++) memcpy(sums + l * dim + d, part[l], n * sizeof(vec));
    }
    for (int64_t l = 0; l < lines; l++)
        for (int64_t s = 0; s < values.slots; s++)
            for (int64_t d = whole; d < dim; d++)
                sums[l * dim + d] += weights[l * longest + s] * load_kv(values.first[s * values.step + d]);
}

/* One of the two: numbers are queries, to be scored, or sums, to be added to. */
INLINE void some_lines(const int adding, struct stretch slots, float *numbers, float *scores, int64_t longest,
                       const int64_t lines, const int64_t dim) {
    if (adding) add_values(scores, longest, slots, numbers, lines, dim);
    else score_slots(numbers, slots, scores, longest, lines, dim);
}

/* The same for all lines of some heads: up to LINES of a head at a time, and how many of them as a literal
 * number. */
INLINE void all_lines(const int adding, struct stretch slots, float *numbers, float *scores, int64_t longest,
                      int64_t heads, int64_t group, const int64_t dim) {
    for (int64_t h = 0; h < heads; h++, slots.first += dim, slots.next += dim)
        for (int64_t g = 0; g < group; g += LINES) { /* group: query heads of a K/V head */
            float *own = numbers + (h * group + g) * dim, *score = scores + (h * group + g) * longest;
            switch (group - g) {
            case 1: some_lines(adding, slots, own, score, longest, 1, dim); break;
            case 2: some_lines(adding, slots, own, score, longest, 2, dim); break;
            case 3: some_lines(adding, slots, own, score, longest, 3, dim); break;
            default: some_lines(adding, slots, own, score, longest, LINES, dim);
            }
        }
}

/* One token: scores of its lines (query heads), softmax over all of them, weighted sum; keys and values
 * stream through in the order in which they lie in memory. scratch: heads * group * (2 * dim + longest)
 * numbers. Always inlined: a caller who writes dim as a number gets loops without a branch. */
INLINE void attend_one(const struct step *s, const struct cache *c, struct piece p, const int64_t dim,
                       float *scratch) {
    const int64_t group = s->heads / s->kv_heads, lines = p.heads * group, width = s->kv_heads * dim;
    const int64_t longest = s->longest, start = first_slot(c, p.padding, p.end), length = p.end - start;
    float *query = scratch, *sum = query + lines * dim, *scores = sum + lines * dim;
    for (int64_t i = 0; i < lines * dim; i++) query[i] = load(p.q[i]) * c->scale, sum[i] = 0;
    for (int64_t from = start, to; from < p.end; from = to) {
        to = stretch_end(from, p.end, s->block_size);
        /* the next keys, after the last of them the first values */
        const kv_t *next = to < p.end ? row_at(s, p.k, p.table, to) : row_at(s, p.v, p.table, start);
        const struct stretch keys = {row_at(s, p.k, p.table, from), next, width, to - from};
        all_lines(0, keys, query, scores + from - start, longest, p.heads, group, dim);
    }
    for (int64_t l = 0; l < lines; l++) {
        float *score = scores + l * longest, top = -INFINITY, total = 0;
        cap_scores(score, length, c->softcap);
        for (int64_t i = 0; i < length; i++) top = score[i] > top ? score[i] : top;
        for (int64_t i = 0; i < length; i++) total += score[i] = exp_negative(score[i] - top);
        for (int64_t i = 0; i < length; i++) score[i] /= total;
    }
    for (int64_t from = start, to; from < p.end; from = to) {
        to = stretch_end(from, p.end, s->block_size);
        const kv_t *values = row_at(s, p.v, p.table, from),
                   *next = row_at(s, p.v, p.table, to < p.end ? to : from);
        all_lines(1, (struct stretch){values, next, width, to - from}, sum, scores + from - start, longest,
                  p.heads, group, dim);
    }
    for (int64_t i = 0; i < lines * dim; i++) p.out[i] = save(sum[i]);
}

/* Copy what slots from … to hold of one K/V head, as floats: gathered [to - from, dim]. */
static void gather(const struct step *s, const kv_t *cache, const int32_t *table, int64_t from, int64_t to,
                   float *gathered) {
    for (int64_t slot = from, last; slot < to; slot = last) {
        const kv_t *x = row_at(s, cache, table, slot);
        last = stretch_end(slot, to, s->block_size);
        for (int64_t i = slot; i < last; i++, x += s->kv_heads * s->dim, gathered += s->dim)
            for (int64_t d = 0; d < s->dim; d++) gathered[d] = load_kv(x[d]);
    }
}

/* Lines of a panel, which are tokens times query heads: the slots that each sees, its highest score so far,
 * and the sum of its weights. first, last: of the slots that all of them see, the first and one past the
 * last; end: one past the last that any sees. sees_from and sees_to never fall from line to line. */
struct lines {
    int32_t sees_from[PANEL], sees_to[PANEL];
    float top[PANEL], total[PANEL];
    int64_t first, last, end;
};

/* Lay the queries of a piece's lines, from number first on, out as a panel [dim, PANEL]; lines beyond the
 * last see what that sees. Weights are powers of 2 here: e^s is 2^(s log2 e), and log2 e costs nothing as
 * part of the scale; a softcap needs the scores themselves first. */
static void queries_of(const struct cache *c, struct piece p, int64_t first, int64_t group, int64_t dim,
                       float *query, struct lines *all) {
    const float scale = c->softcap > 0 ? c->scale : c->scale * LOG2_E;
    for (int64_t l = 0; l < PANEL; l++) {
        const int64_t line = first + l, real = line < p.tokens * group;
        const int64_t token = real ? line / group : p.tokens - 1, end = p.end + token;
        all->sees_to[l] = end;
        all->sees_from[l] = first_slot(c, p.padding, end);
        all->top[l] = LOWEST, all->total[l] = 0;
        const num_t *head = p.q + token * p.q_step + line % group * dim;
        for (int64_t d = 0; d < dim; d++) query[d * PANEL + l] = real ? load(head[d]) * scale : 0;
    }
    all->first = all->sees_from[PANEL - 1], all->last = all->sees_to[0], all->end = all->sees_to[PANEL - 1];
}

/* Where a line's highest score has risen, weigh what it has summed up so far anew: sum [dim, PANEL]. share:
 * by what it shrinks, for each line. */
static void raise_tops(const float *score, int64_t slots, struct lines *all, float *sum, int64_t dim) {
    vec top[WIDE], share[WIDE];
    memcpy(top, all->top, sizeof(top));
    for (int64_t s = 0; s < slots; s++)
        for (int64_t c = 0; c < WIDE; c++) {
            const vec x = floats(score + s * PANEL + c * LANES);
            top[c] = choose(x > top[c], x, top[c]);
        }
    if (!memcmp(top, all->top, sizeof(top))) return;
    for (int64_t c = 0; c < WIDE; c++) {
        share[c] = exp2_negative(floats(all->top + c * LANES) - top[c]);
        put(all->total + c * LANES, floats(all->total + c * LANES) * share[c]);
        put(all->top + c * LANES, top[c]);
    }
    for (int64_t d = 0; d < dim; d++)
        for (int64_t c = 0; c < WIDE; c++, sum += LANES) put(sum, floats(sum) * share[c]);
}

/* Scores of a span's slots become weights, and are added up. A line that has seen no slot yet has LOWEST as
 * its top and gets weights of 1; its first real score makes its share 0, and they are gone. */
static void weigh(float *score, int64_t slots, struct lines *all) {
    vec total[WIDE], top[WIDE];
    memcpy(total, all->total, sizeof(total)), memcpy(top, all->top, sizeof(top));
    for (int64_t s = 0; s < slots; s++)
        for (int64_t c = 0; c < WIDE; c++, score += LANES) {
            const vec weight = exp2_negative(floats(score) - top[c]);
            put(score, weight);
            total[c] += weight;
        }
    memcpy(all->total, total, sizeof(total));
}

/* A panel of lines and a span of gathered slots, from … to - 1: scores, which are a product of keys and
 * queries; softmax so far; and a product of values and weights, added to the sums. In the first product rows
 * are slots and inputs dims, in the second rows are dims (values read by columns: rows lie a number apart,
 * inputs dim numbers) and inputs slots. score: SPAN * PANEL. */
static void attend_span(const struct cache *c, struct lines *all, const float *keys, const float *values,
                        int64_t from, int64_t to, const float *query, float *sum, float *score, int64_t dim) {
    multiply_rows((struct tile){keys, 4 * dim, 4, dim, zeros, query, score, PANEL, PANEL, 0}, to - from, 0);
    if (c->softcap > 0) {
        cap_scores(score, (to - from) * PANEL, c->softcap);
        for (int64_t i = 0; i < (to - from) * PANEL; i++) score[i] *= LOG2_E;
    }
    for (int64_t s = from; s < to; s++)
        if (s < all->first || s >= all->last) /* not all lines see it */
            for (int64_t l = 0; l < PANEL; l++) {
                const int seen = s >= all->sees_from[l] && s < all->sees_to[l];
                score[(s - from) * PANEL + l] = seen ? score[(s - from) * PANEL + l] : LOWEST;
            }
    raise_tops(score, to - from, all, sum, dim);
    weigh(score, to - from, all);
    multiply_rows((struct tile){values, 4, 4 * dim, to - from, zeros, score, sum, PANEL, PANEL, 0}, dim, 1);
}

/* Several tokens of a row and one K/V head. Their lines lie side by side, as the outputs of a panel do, so
 * that scores and sums are tiles of matrix products, and softmax goes through all lines at once. A span of
 * keys and values at a time is gathered, and serves all panels; spans that none of a panel's lines sees are
 * left out. scratch: 2 * PANELS * PANEL * dim + SPAN * (2 * dim + PANEL) numbers. */
static void attend_many(const struct step *step, const struct cache *c, struct piece p, float *scratch) {
    const int64_t dim = step->dim, group = step->heads / step->kv_heads, size = PANEL * dim;
    const int64_t panels = (p.tokens * group + PANEL - 1) / PANEL, end = p.end + p.tokens - 1;
    float *query = scratch, *sum = query + PANELS * size, *keys = sum + PANELS * size,
          *values = keys + SPAN * dim, *score = values + SPAN * dim;
    struct lines all[PANELS];
    memset(sum, 0, sizeof(float) * panels * size);
    for (int64_t i = 0; i < panels; i++) queries_of(c, p, i * PANEL, group, dim, query + i * size, all + i);
    for (int64_t from = first_slot(c, p.padding, p.end); from < end; from += SPAN) {
        const int64_t far = from + SPAN < end ? from + SPAN : end;
        gather(step, p.k, p.table, from, far, keys);
        gather(step, p.v, p.table, from, far, values);
        for (int64_t i = 0; i < panels; i++) {
            const int64_t to = far < all[i].end ? far : all[i].end;
            if (from < to && all[i].sees_from[0] < to)
                attend_span(c, all + i, keys, values, from, to, query + i * size, sum + i * size, score, dim);
        }
    }
    for (int64_t i = 0; i < p.tokens * group; i++) {
        const float *from = sum + i / PANEL * size + i % PANEL, total = all[i / PANEL].total[i % PANEL];
        num_t *into = p.out + i / group * p.out_step + i % group * dim;
        for (int64_t d = 0; d < dim; d++) into[d] = save(from[d * PANEL] / total);
    }
}

/* Query heads of one K/V head, times tokens, that a task of several tokens may have. */
EXPORT int64_t native_task_lines(void) { return PANELS * PANEL; }

/* Scratch numbers that a thread needs. */
EXPORT int64_t native_scratch_size(const struct step *s) {
    const int64_t one = s->heads * (s->longest + 2 * s->dim);
    const int64_t many = 2 * PANELS * PANEL * s->dim + SPAN * (2 * s->dim + PANEL);
    return ((one > many ? one : many) + LANES - 1) / LANES * LANES;
}

/* All rows of a step: q, out [tokens, heads, dim], whose tokens lie q_step and out_step apart; out may be q.
 * scratch: of all threads, one after the other. A piece is a task; dim is a literal number where models
 * mostly have it. */
static void attend_rows(const struct step *s, const struct cache *c, const num_t *q, int64_t q_step,
                        num_t *out, int64_t out_step, float *scratch, struct worker *w) {
    const int64_t group = s->heads / s->kv_heads;
    scratch += w->me * native_scratch_size(s);
    for (int64_t i; (i = next_piece(w, s->num_tasks, 1)) >= 0;) {
        const struct task task = s->tasks[i];
        const int64_t from_head = task.head * s->dim, at = task.head * group * s->dim;
        struct piece p;
        p.q = q + task.token * q_step + at, p.out = out + task.token * out_step + at;
        p.k = c->k + from_head, p.v = c->v + from_head, p.q_step = q_step, p.out_step = out_step;
        p.table = s->tables + task.row * s->table_width, p.tokens = task.tokens, p.heads = task.heads;
        p.padding = task.padding, p.end = task.end;
        if (task.tokens > 1) attend_many(s, c, p, scratch);
        else if (s->dim == 64) attend_one(s, c, p, 64, scratch);
        else if (s->dim == 128) attend_one(s, c, p, 128, scratch);
        else attend_one(s, c, p, s->dim, scratch);
    }
}

struct attention_call {
    const struct step *step;
    const struct cache *cache;
    const num_t *q;
    num_t *out;
    int64_t q_step, out_step;
    float *scratch;
};

static void one_attention(const void *job, struct worker *w) {
    const struct attention_call *c = job;
    attend_rows(c->step, c->cache, c->q, c->q_step, c->out, c->out_step, c->scratch, w);
}

/* scratch: native_scratch_size for each thread */
EXPORT void native_attention(const struct step *s, const struct cache *c, const num_t *q, int64_t q_step,
                             num_t *out, int64_t out_step, float *scratch, int64_t threads) {
    const struct attention_call job = {s, c, q, out, q_step, out_step, scratch};
    run_team(one_attention, &job, threads);
}

#ifdef PRODUCTS
/* How far a thread has come in having the blocks brought that its own tasks of one token will read: which
 * task, from slot on. Products leave memory idle where rows are many; attention then finds its keys and
 * values in the caches. cache: null if there is nothing to come. */
struct upcoming_kv {
    const struct step *step;
    const struct cache *cache;
    int64_t task, slot, threads;
};

/* Have the next such block brought, bit by bit during a tile of so many lines; its own tasks are
 * every threads-th, as attend_rows deals them. If there is none, k and v stay as they are. */
static void prefetch_next_block(struct upcoming_kv *kv, struct prefetch *prefetch, int64_t lines) {
    const struct step *s = kv->step;
    for (; kv->cache && kv->task < s->num_tasks; kv->task += kv->threads, kv->slot = 0) {
        const struct task *task = s->tasks + kv->task;
        const int32_t *table = s->tables + task->row * s->table_width;
        const int64_t start = first_slot(kv->cache, task->padding, task->end);
        const int64_t slot = kv->slot > start ? kv->slot : start, width = s->kv_heads * s->dim;
        if (task->tokens > 1 || slot >= task->end) continue;
        prefetch->k = (const char *)(row_at(s, kv->cache->k, table, slot) + task->head * s->dim);
        prefetch->v = (const char *)(row_at(s, kv->cache->v, table, slot) + task->head * s->dim);
        prefetch->kv_bytes = (s->block_size * width * sizeof(kv_t) + lines - 1) / lines;
        kv->slot = (slot / s->block_size + 1) * s->block_size;
        return;
    }
}
#endif
