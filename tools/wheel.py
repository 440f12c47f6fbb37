"""Build the wheels into dist/: the pure one, and one for Linux on x86-64 that brings the C kernel compiled.

python -m tools.wheel            both; on another system the pure one
python -m tools.wheel --pure     that one only

The platform wheel's tag names the oldest glibc with which the compiled libraries work, as they say it themselves.
"""

from __future__ import annotations

import argparse
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
LEFT_OUT = shutil.ignore_patterns(".*", "*.egg-info", "build", "dist", "__pycache__", "*.so", "benchmarks", "tests", "notebooks")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pure", action="store_true", help="the pure wheel only")
    parser.add_argument("--out", type=Path, default=ROOT / "dist", help="where the wheels go (default: dist)")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "minieng"
        shutil.copytree(ROOT, copy, ignore=LEFT_OUT)  # setuptools would leave a build folder in the tree
        build(copy, args.out)
        if not args.pure and (platform.system(), platform.machine()) == ("Linux", "x86_64"):
            libraries = compile_all(copy / "minieng" / "kernels" / "native" / "prebuilt")
            build(copy, args.out, f"manylinux_{glibc_of(libraries).replace('.', '_')}_x86_64")
    return 0


def build(source: Path, out: Path, tag: str = "any") -> None:
    """``pip wheel`` of a tree; ``tag``: the platform."""
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--disable-pip-version-check", "-w", str(out)]
    option = [] if tag == "any" else [f"--config-settings=--build-option=--plat-name={tag}"]
    subprocess.run([*command, *option, str(source)], check=True)
    print(f"built {', '.join(path.name for path in sorted(out.glob('minieng-*.whl')) if tag in path.name)}")


def compile_all(folder: Path) -> list[Path]:
    """The kernel for each level and form. Raises RuntimeError if there is no compiler, or it fails."""
    import torch

    from minieng.kernels import native, prebuilt

    compiler = native.find_compiler()
    if compiler is None:
        raise RuntimeError("no C compiler is here to make the platform wheel: install gcc, or ask for --pure")
    texts, made = [file.read_bytes() for file in native.SOURCES], []
    for kind in ((torch.float32,), (torch.bfloat16,), (torch.bfloat16, True)):
        for level in prebuilt.LEVELS:
            flags = prebuilt.flags_for(level, native.flags_of(*kind))
            made.append(folder / prebuilt.file_name(level, flags, texts))
            native.compile_library(compiler, flags, made[-1])
    return made


def glibc_of(libraries: list[Path]) -> str:
    """The newest version of glibc that one of them asks for; 2.17 at least, the oldest that wheels are named after."""
    asked = {tuple(map(int, v.split(b"."))) for path in libraries for v in re.findall(rb"GLIBC_(2\.\d+)\b", path.read_bytes())}
    return ".".join(map(str, max({(2, 17), *asked})))


if __name__ == "__main__":
    sys.exit(main())
