"""Two shells and Rust programs share a lock and a group, and see processes end.

The programs are the examples `lock`, `chat` and `from_iex` of the library: `cargo build --workspace --examples`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from proof.cluster import wait_for
from proof.network import free_port
from proof.report import Report
from proof.run import Run
from proof.scenarios.shells import Person, missing, person
from proof.shell import NoAnswer, erl, iex

EXAMPLES = Path("target/debug/examples")
COOKIE = "example"
HELD_S = 3.0
"""How long a lock is held to check that no other process takes it, in seconds."""
TURN_S = 30.0
# A lock that is often held is asked for at random times, up to 8 s apart, as in OTP.
PATIENCE_S = 120
"""How long a process may wait for its turn, in seconds: after a refusal it sleeps up to 8 s."""


class Programs:
    """Runs examples, each with its output in a file. Ends them at the end of the context."""

    def __init__(self, stack: ExitStack) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="salp-proof-"))
        stack.callback(shutil.rmtree, self.folder)
        self.environment = {
            **os.environ,
            "HOME": str(self.folder),
            "ERL_EPMD_PORT": str(free_port()),
        }
        self._stack = stack

    def start(self, output: str, example: str, *arguments: str) -> subprocess.Popen[bytes]:
        """Starts an example whose output goes to the file `output` of the folder."""
        with (self.folder / output).open("ab") as printed:
            process = subprocess.Popen(
                [str(EXAMPLES / example), *arguments],
                stdin=subprocess.PIPE,
                stdout=printed,
                stderr=subprocess.DEVNULL,
                env=self.environment,
            )
        self._stack.callback(process.wait)
        self._stack.callback(process.kill)
        return process

    def lines(self, output: str) -> list[str]:
        """The output in `output` until now."""
        return (self.folder / output).read_text().splitlines()


def shells_rust(run: Run) -> None:
    """Locks, groups, monitors and links between shells and Rust processes."""
    if tools := missing():
        run.report.skip("shells and Rust processes", f"not installed: {tools}")
        return
    examples = [EXAMPLES / name for name in ("lock", "chat", "from_iex")]
    if unbuilt := [path.name for path in examples if not path.exists()]:
        run.report.skip("shells and Rust processes", f"not built: {', '.join(unbuilt)}")
        return
    try:
        with ExitStack() as stack:
            programs = Programs(stack)
            # The first node runs the port mapper of all, so it is one that is not ended.
            programs.start("rust", "from_iex")
            wait_for("a node", lambda: bool(programs.lines("rust")), TURN_S)
            ada, bob = (
                stack.enter_context(person(run, name, command(name, COOKIE), programs.environment))
                for name, command in (("ada@127.0.0.1", iex), ("bob@127.0.0.1", erl))
            )
            _lock(run.report, programs, ada, bob)
            _chat(run.report, programs, ada, bob)
            _ends(ada)
    except NoAnswer as error:
        run.report.check("the shells answer", False, str(error))
    run.report.table("shells and Rust processes")


def _meet(person: Person, name: str) -> None:
    """Connects to a program that is starting."""
    person.comes_to(f'Node.connect(:"{name}@127.0.0.1")', "true")


def _lock(report: Report, programs: Programs, ada: Person, bob: Person) -> None:
    """Only the process with the lock prints, in Rust, Elixir or Erlang."""
    paper = programs.folder / "paper"
    carol = programs.start("paper", "lock", "carol")
    _meet(ada, "carol")
    bob.says("net_adm:ping('carol@127.0.0.1').", "pong")
    programs.start("paper", "lock", "dave", "carol")
    for name in ("bob", "dave"):
        ada.comes_to(f':"{name}@127.0.0.1" in Node.list()', "true")
    bob.comes_to("length(nodes()).", "3")

    def wait_for_lines(count: int) -> None:
        wait_for(f"{count} lines on paper", lambda: len(programs.lines("paper")) >= count, TURN_S)

    wait_for_lines(6)
    lock = ":global.set_lock({:printer, self()}, [node() | Node.list()], 0)"
    ada.says(f"Stream.repeatedly(fn -> {lock} end) |> Enum.find(& &1)", "true", TURN_S)
    before = programs.lines("paper")
    bob.says("global:set_lock({printer, self()}, [node() | nodes()], 0).", "false")
    time.sleep(HELD_S)
    report.check("no program prints while a shell has the lock", programs.lines("paper") == before)
    report.check("no program was printing before", not before or before[-1].endswith("is done"))
    ada.says(":global.del_lock({:printer, self()})", "true")
    wait_for_lines(len(before) + 4)
    write = f'file:write_file("{paper}", "bob ~s~n", [append])'
    prints, is_done = (write.replace("~s~n", f"{what}\\n") for what in ("prints", "is done"))
    work = f"fun() -> {prints}, timer:sleep(1000), {is_done}, done end"
    bob.says(
        "(fun Turn() -> case global:trans({printer, self()}, "
        f"{work}, [node() | nodes()], 0) of aborted -> Turn(); Done -> Done end end)().",
        "done",
        TURN_S,
    )
    wait_for_lines(len(programs.lines("paper")) + 4)
    # A program that has just joined waits for the names and locks of all before it asks.
    wait_for("dave's turn", lambda: any(line.startswith("dave") for line in programs.lines("paper")), PATIENCE_S)
    # Before they had met each had the lock for itself.
    turns = programs.lines("paper")[len(before) :]
    report.check_none("turns do not overlap", overlaps(turns))
    printers = {line.split()[0] for line in programs.lines("paper")}
    report.check("each program had a turn", printers == {"carol", "dave", "bob"}, repr(printers))
    # With who has the lock goes the lock.
    carol.kill()
    carol.wait()
    gone = len(programs.lines("paper"))
    wait_for_lines(gone + 4)
    others = {line.split()[0] for line in programs.lines("paper")[gone:]}
    report.check("the other program goes on alone", others == {"dave"}, repr(others))


def overlaps(lines: list[str]) -> list[str]:
    """Lines that were printed out of turn. The last turn may still be under way."""
    found = []
    printing = None
    for number, line in enumerate(lines, 1):
        who, what = line.split(" ", 1)
        if what == "prints" and printing is None:
            printing = who
        elif what == "is done" and printing == who:
            printing = None
        else:
            found.append(f"line {number}: {line}, while {printing or 'nobody'} prints")
    return found


def _chat(report: Report, programs: Programs, ada: Person, bob: Person) -> None:
    """A group has the same members at all nodes, and a message of each member reaches all others."""
    eve = programs.start("eve", "chat", "eve")
    _meet(ada, "eve")
    programs.start("fay", "chat", "fay", "eve")
    _meet(ada, "fay")
    bob.says("{ok, _} = pg:start_link(), ok.", "ok")
    ada.says(":pg.start_link(); :pg.join(:lobby, self())", ":ok")
    bob.comes_to("length(pg:get_members(lobby)).", "3")
    ada.comes_to("length(:pg.get_members(:lobby))", "3")
    ada.says("length(:pg.get_local_members(:lobby))", "1")
    hello = 'for pid <- :pg.get_members(:lobby), do: send(pid, {:said, "ada", "hello"})'
    ada.says(f"{hello}; :ok", ":ok")
    ada.hears("itself", '{:said, "ada", "hello"}')
    assert eve.stdin is not None
    # It knows the other members once it was told of them, which nobody hears of.
    time.sleep(1)
    eve.stdin.write(b"good evening\n")
    eve.stdin.flush()
    ada.hears("a program", '{:said, "eve", "good evening"}')
    for reader, expected in (("eve", ["ada: hello"]), ("fay", ["ada: hello", "eve: good evening"])):
        report.check(f"{reader} gets the messages of all others", programs.lines(reader) == expected)
    eve.kill()
    eve.wait()
    bob.comes_to("length(pg:get_members(lobby)).", "2")
    ada.comes_to("length(:pg.get_members(:lobby))", "2")
    ada.says(":pg.leave(:lobby, self())", ":ok")
    bob.comes_to("length(pg:get_members(lobby)).", "1")


def _ends(ada: Person) -> None:
    """Links and monitors of a Rust process get its exit reason."""
    _meet(ada, "rust")
    rust = ':"rust@127.0.0.1"'
    ada.comes_to(f"is_pid(:rpc.call({rust}, :erlang, :whereis, [:sleeper]))", "true")
    ada.says(f"sleeper = {{:sleeper, {rust}}}; GenServer.call(sleeper, {{:after, 50, :good}})", ":good")
    ada.says(f"GenServer.multi_call([{rust}], :sleeper, {{:after, 0, 1}})", '{["rust@127.0.0.1": 1], []}')
    late = "GenServer.call(sleeper, {:after, 60000, 1}, 100)"
    ada.says(f"try do {late} catch :exit, {{why, _}} -> why end", ":timeout")
    ada.says(f"p = :rpc.call({rust}, :erlang, :whereis, [:sleeper]); node(p) == {rust}", "true")
    ada.says("Process.flag(:trap_exit, true); Process.link(p); Process.monitor(p); 1", "1")
    ada.says("Process.monitor(sleeper); {:links, l} = Process.info(self(), :links); p in l", "true")
    ada.says("GenServer.cast(sleeper, :panic)", ":ok")
    panic = '{:panic, "as you like"}'
    ada.hears(
        "of its end",
        f"{{:DOWN, REF, :process, PID, {panic}}}",
        f"{{:DOWN, REF, :process, {{:sleeper, {rust}}}, {panic}}}",
        f"{{:EXIT, PID, {panic}}}",
    )
    ada.says("Process.monitor(p); Process.link(p)", "true")
    ada.hears("that it has ended", "{:DOWN, REF, :process, PID, :noproc}", "{:EXIT, PID, :noproc}")

