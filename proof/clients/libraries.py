"""Which libraries are tried, in which versions, and how they are installed."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
INSTALL_S = 240

ENVIRONMENTS = {
    "redis5": ("redis==5.3.1",),
    "redis8": ("redis==8.1.0", "coredis==6.9.0", "valkey-glide==2.6.0"),
}
"""Virtual environments of Python, since one has one version of a library."""
NPM = {
    "ioredis5": "npm:ioredis@5.11.1",
    "ioredis6": "npm:ioredis@6.0.0",
    "redis4": "npm:redis@4.7.1",
    "redis5": "npm:redis@5.12.1",
    "redis6": "npm:redis@6.3.1",
}


@dataclass(frozen=True)
class Library:
    """One library in one mode."""

    shown: str
    environment: str
    """A virtual environment, or npm."""
    argument: str
    """What its program is told to use."""

    @property
    def is_cluster(self) -> bool:
        """Whether the library knows the map of slots."""
        return self.argument.endswith("cluster")


def _libraries() -> list[Library]:
    found = []
    for environment, version in (("redis5", "5.3.1"), ("redis8", "8.1.0")):
        for mode in ("", " asyncio", " cluster", " asyncio cluster"):
            found.append(Library(f"redis-py {version}{mode}", environment, f"redis-py{mode}"))
    for name, version in (("coredis", "6.9.0"), ("glide", "2.6.0")):
        found += [Library(f"{name} {version}{mode}", "redis8", f"{name}{mode}") for mode in ("", " cluster")]
    for name, source in NPM.items():
        package, _, version = source.removeprefix("npm:").partition("@")
        shown = f"{'node-redis' if package == 'redis' else package} {version}"
        found += [Library(f"{shown}{mode}", "npm", f"{name}{mode}") for mode in ("", " cluster")]
    return found


LIBRARIES = _libraries()
WITH_TRANSACTIONS = [
    library
    for library in LIBRARIES
    if library.shown.startswith(("redis-py", "ioredis", "node-redis"))
    and "asyncio" not in library.shown
    and library.shown != "redis-py 5.3.1 cluster"
]
"""Those whose transactions are tried. redis-py 5 has none in cluster mode."""


def install(folder: Path) -> list[str]:
    """Installs all libraries below `folder`, unless they are there. Returns what could not be installed, and why."""
    missing = []
    for name, packages in ENVIRONMENTS.items():
        if not (folder / name / "installed").exists():
            pip = [str(_python(folder, name)), "-m", "pip", "install", "--quiet", *packages]
            if why := _run([sys.executable, "-m", "venv", str(folder / name)]) or _run(pip):
                missing.append(f"{name}: {why}")
            else:
                (folder / name / "installed").touch()
    if not (folder / "npm" / "installed").exists():
        (folder / "npm").mkdir(parents=True, exist_ok=True)
        (folder / "npm" / "package.json").write_text(json.dumps({"private": True, "dependencies": NPM}))
        why = "npm is not installed"
        if shutil.which("npm") is not None:
            why = _run(["npm", "install", "--no-audit", "--no-fund", "--prefix", str(folder / "npm")])
        if why:
            missing.append(f"npm: {why}")
        else:
            (folder / "npm" / "installed").touch()
    return missing


def command(
    library: Library, folder: Path, addresses: str, seconds: float, transactions: bool = False
) -> tuple[list[str], Path]:
    """What runs the program of a library, and where."""
    arguments = [library.argument, addresses, str(seconds)]
    program = "transactions" if transactions else "program"
    if library.environment == "npm":
        return ["node", str(FOLDER / f"node_{program}.mjs"), *arguments], folder / "npm"
    return [str(_python(folder, library.environment)), str(FOLDER / f"python_{program}.py"), *arguments], folder


def _python(folder: Path, environment: str) -> Path:
    return folder / environment / "bin" / "python"


def _run(words: list[str]) -> str:
    """Why a command failed, or nothing."""
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=INSTALL_S)
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return done.stderr.strip()[-200:] or f"exit code {done.returncode}" if done.returncode else ""
