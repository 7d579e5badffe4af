"""What a stranger's file can do while it is checked, and what it cannot."""

import os
import subprocess
import sys
import time
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path

import pytest

from parity_tests.__main__ import main
from parity_tests.check.messages import PortError, ProcessEnded, UnusablePort
from parity_tests.check.models.reference import KerasProcess
from parity_tests.check.process import Process
from parity_tests.check.quarters import without_secrets
from parity_tests.tests.check.test_ending import running


@pytest.fixture(params=["port", pytest.param("reference", marks=pytest.mark.soak)])
def said(request, tmp_path, data):
    """Run a file as a port or as a Keras model; return the error that ends it."""

    def said(code, limit=60.0, name="theirs.py"):
        path = tmp_path / name
        path.write_text(f"import os, subprocess, sys, time\nfrom pathlib import Path\n{code}\n")
        with ExitStack() as stack:
            run = partial(Process, path, data, limit=limit)
            if request.param == "reference":
                keras = KerasProcess(path, "float32", "tensorflow", sys.executable, limit)
                run = partial(stack.enter_context(closing(keras)).ask, "describe")
            with pytest.raises((PortError, ProcessEnded)) as caught:
                run()
        return str(caught.value)

    return said


@pytest.fixture
def here(tmp_path, monkeypatch):
    """The current folder of whoever checks."""
    folder = tmp_path / "above" / "here"
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)
    return folder


ENDLESS = {
    "memory": (  # that is not touched, so the machine does without it
        "import numpy as np; held = [np.empty(10**9, 'u1') for _ in range(10_000)]",
        "MemoryError",
    ),
    "a file": ("open('x', 'wb').truncate(10**10)", "File too large"),
    "files": ("held = [open(os.devnull) for _ in range(10**6)]", "Too many open files"),
}


@pytest.mark.parametrize("what", ENDLESS)
def test_what_has_no_end_meets_a_limit_and_is_said(said, what):
    code, message = ENDLESS[what]
    assert message in said(code)


def test_a_file_that_sleeps_for_ever_is_ended(said, request):
    limit = 1 if "port" in request.node.name else 10
    assert f"took more than {limit} s" in said("time.sleep(1e6)", limit)


@pytest.mark.parametrize("ending", ["raise ValueError", "os._exit(0)", "os.kill(os.getpid(), 9)"])
def test_a_process_that_left_the_group_of_the_file_ends_with_it(said, tmp_path, ending):
    said(
        "code = \"import subprocess; print(subprocess.Popen(['sleep', '999'], "
        'start_new_session=True, stdout=-3).pid)"\n'
        "child = subprocess.run([sys.executable, '-c', code], stdout=-1, start_new_session=True)\n"
        f"Path({str(tmp_path / 'pid')!r}).write_bytes(child.stdout)\n{ending}"
    )
    deadline = time.monotonic() + 10
    while running(int((tmp_path / "pid").read_text())):
        assert time.monotonic() < deadline


def test_home_temporary_files_and_the_working_folder_are_its_own_and_are_removed(said, here):
    before = Path.home().stat().st_mtime_ns
    places = said(
        "import tempfile\n"
        "places = Path.cwd(), Path.home(), Path(tempfile.mkdtemp()).parent\n"
        "for place in places:\n    (place / 'written').write_text('x')\n"
        "raise RuntimeError(' '.join(map(str, places)))"
    ).split("RuntimeError: ")[1]
    places = [Path(place) for place in places.split(" (line")[0].split()]
    assert len(set(places)) == 3
    assert not any(place.exists() for place in places)
    assert Path.home().stat().st_mtime_ns == before
    assert list(here.iterdir()) == []


def test_what_the_file_names_is_there_and_what_it_writes_over_stays_as_it_was(said, here):
    for name in ("weights.npz", "data/images", "../labels"):
        (here / name).parent.mkdir(exist_ok=True)
        (here / name).write_text(name)
    found = said(
        "found = [open(n).read() for n in ('weights.npz', Path('data', 'images'), '../labels')]\n"
        "for name in ('weights.npz', '../labels'):\n    open(name, 'w').write('changed')\n"
        "raise RuntimeError(found)"
    )
    assert "['weights.npz', 'data/images', '../labels']" in found
    assert (here / "weights.npz").read_text() == "weights.npz"
    assert (here / "../labels").read_text() == "../labels"


def test_what_the_file_opens_beside_itself_is_there(said, tmp_path):
    (tmp_path / "weights").write_text("beside")
    found = said(
        "found = [Path(__file__).with_name('weights').read_text(), open('weights').read()]\n"
        "raise RuntimeError(found)"
    )
    assert "['beside', 'beside']" in found


def test_a_file_that_it_does_not_find_is_explained(said, here):
    (here / "weights3").touch()
    message = said("open('weights%d' % 3)")
    assert "No such file or directory: 'weights3'; a file runs in a temporary folder" in message
    assert message.endswith("open others beside __file__ (line 3)")


NAMES = """GITHUB_TOKEN HF_TOKEN_PATH AWS_SECRET_ACCESS_KEY AWS_ACCESS_KEY_ID OPENAI_API_KEY APIKEYS
PGPASSWORD MYSQL_PWD SMTP_PASS db_password SSH_AUTH_SOCK GOOGLE_APPLICATION_CREDENTIALS A_COOKIE"""
OTHERS = """KERAS_BACKEND PATH HOME PWD OLDPWD TOKENIZERS_PARALLELISM GIT_AUTHOR_NAME KEYBOARD
CUDA_PATH OMP_NUM_THREADS XLA_FLAGS PYTHONPATH LD_LIBRARY_PATH"""


def test_a_variable_that_looks_like_a_secret_is_left_out_and_no_other():
    found = without_secrets(dict.fromkeys((*NAMES.split(), *OTHERS.split()), "x"))
    assert [*found] == OTHERS.split()
    proxies = {"http_proxy": "http://me:word@host:80", "https_proxy": "http://host:80"}
    assert [*without_secrets(proxies)] == ["https_proxy"]


def test_a_secret_of_the_environment_is_not_in_that_of_the_file(said, monkeypatch):
    monkeypatch.setenv("SOME_API_TOKEN", "s3cret")
    monkeypatch.setenv("SOME_OTHER", "visible")
    found = said("raise RuntimeError(dict(os.environ), open('/proc/self/environ').read())")
    assert "'SOME_OTHER': 'visible'" in found
    assert "SOME_API_TOKEN" not in found


@pytest.mark.soak
def test_a_secret_is_not_in_the_memory_that_a_file_began_with(tmp_path, data):
    port = tmp_path / "port.py"
    port.write_text(
        "def step(): x.backward()\n"
        "raise RuntimeError(open('/proc/self/environ').read(), open('/proc/self/environ').read())"
    )
    command = [sys.executable, "-m", "parity_tests", "check", port, "--data", data]
    environment = {**os.environ, "SOME_API_TOKEN": "s3cret", "SOME_OTHER": "visible"}
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert "visible" in ended.stderr
    assert "s3cret" not in ended.stderr


@pytest.mark.parametrize("kind", ["a folder", "a pipe or a device"])
@pytest.mark.parametrize("side", ["port", "reference"])
def test_what_is_no_file_is_refused_in_a_sentence(tmp_path, status_of, capsys, kind, side):
    strange, right = tmp_path / "strange.py", tmp_path / "right.py"
    strange.mkdir() if kind == "a folder" else os.mkfifo(strange)
    right.touch()
    port, reference = (strange, right) if side == "port" else (right, strange)
    assert status_of(main, "check", port, "--reference", reference) == 2
    assert f"strange.py is {kind}: expected a " in capsys.readouterr().err


def test_a_reference_that_writes_without_end_to_standard_error_is_not_read_whole(tmp_path):
    (tmp_path / "original.py").touch()
    process = KerasProcess(tmp_path / "original.py", "float32", "tensorflow", sys.executable)
    with closing(process):
        process._process.kill()
        process._process.wait()
        process._errors.truncate(10**12)
        process._errors.seek(0, os.SEEK_END)
        process._errors.write(b"\nlast words")
        with pytest.raises(ProcessEnded, match="last words"):
            process.ask("describe")


def test_a_port_that_ended_its_process_is_unusable(tmp_path, data):
    (tmp_path / "port.py").write_text("import os; os._exit(4)")
    with pytest.raises(UnusablePort, match="with exit status 4"):
        Process(tmp_path / "port.py", data)
