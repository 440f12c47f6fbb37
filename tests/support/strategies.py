"""Random workloads for the contract "same tokens", as hypothesis strategies."""

from __future__ import annotations

from collections.abc import Sequence

import hypothesis.strategies as st

from support.cases import ASKED, KNOBS, MOST, PICK, ROOM, Asked, Case


def cases(num_prompts: int, most: int = MOST) -> st.SearchStrategy[Case]:
    prompt = of(range(num_prompts))
    asked = st.builds(Asked, prompt=prompt, **{name: of(values) for name, values in ASKED.items()})
    knobs = st.fixed_dictionaries({name: of(values) for name, values in KNOBS.items()})
    return st.builds(Case, st.lists(asked, min_size=2, max_size=most), knobs, of(ROOM), of(PICK))


def of(values: Sequence) -> st.SearchStrategy:
    """One of them; a smaller one of a range and an earlier one of a list make a simpler case."""
    return st.integers(values[0], values[-1]) if isinstance(values, range) else st.sampled_from(values)
