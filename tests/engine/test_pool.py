"""The pool of blocks and the ledger: no block is ever lost, and what is counted on paper is what is used."""

from __future__ import annotations

import random
import subprocess
import sys

import hypothesis.strategies as st
import pytest
from hypothesis import given, seed, settings
from support.fakes import ask, fake_engine

from minieng.kv.allocator import KVCache, next_power_of_two
from minieng.kv.blocks import ROOT, BlockPool, OutOfBlocks, block_hash
from minieng.plan import Moves, Plan
from minieng.request import Request, SamplingParams
from minieng.scheduler import ChunkedScheduler


class RandomTables:
    """Block tables that live by random operations on one pool."""

    def __init__(self, dice: random.Random, blocks: int, tables: int) -> None:
        self.dice, self.pool = dice, BlockPool(blocks)
        self.tables: list[list[int]] = [[] for _ in range(tables)]
        self.keys = [block_hash(ROOT, [i]) for i in range(40)]

    def step(self) -> None:
        table = self.dice.choice(self.tables)
        getattr(self, self.dice.choice(["take", "take", "share", "publish", "hit", "release"]))(table)

    def take(self, table: list[int]) -> None:
        if self.pool.num_free:
            table.append(self.pool.take())
        else:
            with pytest.raises(OutOfBlocks):
                self.pool.take()

    def share(self, table: list[int]) -> None:
        self.hold(table, self.dice.choice(self.tables)[:1])

    def hit(self, table: list[int]) -> None:
        self.hold(table, self.pool.longest_prefix([self.dice.choice(self.keys)]))

    def hold(self, table: list[int], blocks: list[int]) -> None:
        for block in set(blocks) - set(table):
            self.pool.share(block)
            table.append(block)

    def publish(self, table: list[int]) -> None:
        unknown = [block for block in table if self.pool.hash_of[block] is None]
        if unknown:
            self.pool.publish(unknown[0], self.dice.choice(self.keys))

    def release(self, table: list[int]) -> None:
        if self.dice.random() < 0.5:
            self.pool.release(table)
            table.clear()


def test_ten_thousand_operations_lose_no_block():
    world = RandomTables(random.Random(0), blocks=23, tables=6)
    for _ in range(10_000):
        world.step()
        world.pool.check_invariants(world.tables)
    assert any(world.tables) and world.pool.by_hash, "the walk did nothing"
    for table in world.tables:
        world.pool.release(table)
    world.pool.check_invariants([])
    assert world.pool.num_free == 23


def test_the_block_unused_longest_is_taken_first_and_a_known_prefix_last():
    pool = BlockPool(4)
    a, b, c = pool.take(), pool.take(), pool.take()
    pool.publish(a, b"a")
    pool.publish(b, b"b")
    pool.release([a, b])  # tail first: b would be evicted before a
    pool.release([c])
    assert [pool.take() for _ in range(4)] == [c, 3, b, a]


def test_a_hit_leaves_the_middle_of_the_free_queue():
    pool = BlockPool(3)
    blocks = [pool.take() for _ in range(3)]
    for block, key in zip(blocks, (b"x", b"y", b"z"), strict=True):
        pool.publish(block, key)
        pool.release([block])
    pool.share(pool.longest_prefix([b"y"])[0])
    assert list(pool.free_queue) == [blocks[0], blocks[2]]


def test_a_block_freed_twice_is_an_error():
    pool = BlockPool(1)
    block = pool.take()
    pool.release([block])
    with pytest.raises(OutOfBlocks, match="freed twice"):
        pool.release([block])


def test_a_block_hash_names_all_tokens_before_it():
    first, other = block_hash(ROOT, [1, 2]), block_hash(ROOT, [1, 3])
    assert block_hash(first, [5, 6]) != block_hash(other, [5, 6]) != block_hash(ROOT, [5, 6])
    assert len({block_hash(ROOT, [i, j]) for i in range(60) for j in range(60)}) == 3_600


def test_a_hit_never_covers_the_last_token():
    engine = fake_engine(block_size=4)
    prompt = list(range(8))
    for name in "ab":
        ask(engine, name, prompt, 1)
        engine.run()
    assert [record.cached for record in engine.trace] == [0, 4], "the second block holds the last token"


@pytest.mark.parametrize("n, power", [(0, 1), (1, 1), (2, 2), (3, 4), (16, 16), (17, 32)])
def test_next_power_of_two(n, power):
    assert next_power_of_two(n) == power


# -- the ledger -----------------------------------------------------------------------------------------------


class Unlimited(ChunkedScheduler):
    token_budget = None  # so that any plan may be tried on it


@seed(1)
@settings(max_examples=300, deadline=None, database=None)
@given(
    number=st.integers(0, 10**9),
    size=st.sampled_from([1, 3, 4]),
    rule=st.sampled_from(["watermark", "reserve_max", "reserve_pow2"]),
)
def test_the_ledger_counts_what_reserving_uses(number, size, rule):
    """Random victims, then random slices in random order, some of them siblings: free blocks come out the same."""
    dice = random.Random(number)
    engine = fake_engine(Unlimited(), 24, size, admission=rule, max_num_batched_tokens=9)
    scheduler, common = engine.scheduler, [dice.randrange(9) for _ in range(12)]
    for i in range(dice.randint(2, 6)):
        prompt = common[: dice.randint(1, 12)]
        group = [Request(f"{i}#{j}", prompt, SamplingParams(max_tokens=6)) for j in range(dice.choice([1, 1, 3]))]
        if engine.kv.never_fits(group[0]) is None:
            engine.add_request(group[0])
            engine.add_siblings(group[0], group[1:])
    for _ in range(dice.randint(0, 6)):
        engine.step()
    engine._let_in_arrivals(None)
    plan, ledger = Plan(), engine.kv.ledger()
    plan.preempt = [r for r in scheduler.running if dice.random() < 0.3]
    for victim in plan.preempt:
        ledger.give_back(victim)
    others = [r for r in [*scheduler.running, *scheduler.waiting] if r not in plan.preempt]
    dice.shuffle(others)
    for request in others[: scheduler.max_num_seqs]:
        n = dice.randint(1, dice.choice([ledger.todo, ledger.most])(request))
        if ledger.take(request, n):
            plan.extend.append((request, n))
    if plan.extend or plan.preempt:
        scheduler.reserve(plan, 0.0)
    assert engine.kv.pool.num_free == ledger.free
    scheduler.commit(plan, engine.executor.execute(plan), 1.0)  # which looks at the content of every block
    engine.kv.check_invariants([*scheduler.waiting, *scheduler.running])


def test_looking_is_not_taking():
    engine = fake_engine(num_blocks=4, block_size=4)
    request = ask(engine, "a", 10, 2)
    ledger = engine.kv.ledger()
    assert ledger.need(request, 10) == 3 and ledger.can_take(request, 10) and ledger.free == 4
    assert ledger.take(request, 10) and ledger.free == 1
    ledger.give_back(request)
    assert ledger.free == 4 and engine.kv.pool.num_free == 4


def test_a_shared_tail_is_copied_before_it_is_written():
    kv = KVCache(8, 4)
    first, second = (Request(name, [1, 2, 3, 4, 5, 6], SamplingParams(max_tokens=4)) for name in "ab")
    kv.grow(first, 6, Moves([], [], []))
    first.num_computed_tokens, second.fork_of = 6, first
    assert kv.ledger().need(second, 1) == 1, "the full block is shared, the tail is copied"
    kv.attach(second, kv.lookup(second))
    moves = Moves([], [], [])
    kv.grow(second, 1, moves)
    assert moves.copy == [(first.block_table[1], second.block_table[1])]
    assert first.block_table[0] == second.block_table[0] and kv.pool.refs[first.block_table[0]] == 2


def test_a_padded_row_publishes_nothing():
    """Its blocks do not begin where a packed prompt's would."""
    kv = KVCache(8, 4)
    for pad, known in ((3, 0), (0, 2)):
        request = Request(f"pad {pad}", list(range(9)), SamplingParams(max_tokens=4))
        request.pad = pad
        kv.grow(request, 9, Moves([], [], []))
        request.num_computed_tokens = 9
        kv.publish(request)
        assert len(kv.pool.by_hash) == known


def test_the_invariants_are_checked_by_an_optimised_python_too():
    code = (
        "from minieng import LLM\n"
        "llm = LLM.simulated(num_blocks=8, checked=True)\n"
        "llm.engine.kv.pool.refs[3] = 1\n"
        "try: llm.generate([[1, 2, 3]])\n"
        "except AssertionError as broken: print(broken)\n"
    )
    done = subprocess.run([sys.executable, "-O", "-c", code], capture_output=True, text=True)
    assert done.stdout.startswith("a reference count differs"), done.stderr
