"""Which processes are model servers, or Herd, by the words they were started with."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from herd.net.owner.model_servers import Role, role_of, role_of_name

# Command lines as they stand in the sources of the servers and in public reports.
SERVERS = [
    "/usr/local/lib/ollama/llama-server --model /var/ollama/blobs/sha256-66 --port 41235 --host 127.0.0.1 --no-webui",
    "/usr/local/bin/ollama runner --mlx-engine --model llama3 --port 50123",
    "ollama_llama_server --model x",
    r"C:\Ollama\lib\ollama\llama-server.exe --model x",
    "/opt/.lmstudio/.internal/utils/node /opt/.lmstudio/extensions/llmworker.js",
    "/usr/bin/python3.12 /venv/bin/vllm serve Qwen/Qwen3-8B --port 8000",
    "python -m vllm.entrypoints.openai.api_server --model x",
    "/venv/bin/python -X dev -W error -m sglang.launch_server --model-path x",
    "VLLM::EngineCore",
    "VLLM::Worker_TP0",
    "sglang::scheduler",
    "/Frameworks/Python.framework/Versions/3.12/Resources/Python.app/Contents/MacOS/Python /venv/bin/mlx_lm.server",
    "python3 -m mlx_lm server --model x",
    "Python /venv/bin/mlx-qwen3-asr serve --api-key k",
    "python -m llama_cpp.server --model x",
    "python3 -m herd.net.embedded_server --port 1",
    "whisper-server -m ggml-base.bin",
]
MANAGERS = [
    "ollama serve",
    "/usr/local/bin/ollama start",
    "/Applications/Ollama.app/Contents/Resources/ollama serve",
    "/venv/bin/python -m herd.net.tools.guard /opt/homebrew/bin/mflux-generate --model schnell",
]
HERD = [
    "/venv/bin/python /venv/bin/herd-node --router-url http://studio:11435",
    "python3 -m herd serve",
    r"C:\Python\python.exe C:\Scripts\herd.exe",
]
OTHERS = [
    "/venv/bin/python /opt/homebrew/bin/mflux-generate --model schnell",  # nobody guards it: the owner paints
    "ollama run llama3",
    "ollama pull llama3",
    "ollama",  # its menu may start whatever the owner works with
    "kthreadd",
    "vllm serve x",  # a shell's function of this name: vLLM itself is a script that Python runs
    "/venv/bin/python /venv/bin/vllm bench serve",
    "python train.py -m vllm.entrypoints.openai.api_server",
    "python -c 'import herd' herd",
    "python -c pass -m vllm.entrypoints.openai.api_server",
    "python benchmark.py herd",
    "python -m",
    "python",
    "vim /etc/herd.toml",
    "herd",  # on a Mac this may be a well-known program for PHP
    "/usr/bin/node server.js",
    "grep llama-server",
]


@pytest.mark.parametrize("words", SERVERS)
def test_a_model_server_is_recognised(words: str) -> None:
    assert role_of(words.split()) is Role.SERVER


@pytest.mark.parametrize("words", MANAGERS)
def test_what_starts_model_servers_computes_nothing_itself(words: str) -> None:
    assert role_of(words.split()) is Role.MANAGER


@pytest.mark.parametrize("words", HERD)
def test_herd_is_recognised(words: str) -> None:
    assert role_of(words.split()) is Role.HERD


@pytest.mark.parametrize("words", OTHERS)
def test_all_else_is_the_owners(words: str) -> None:
    assert role_of(words.split()) is None


@pytest.mark.parametrize(
    ("words", "role"),
    [
        (["/Applications/LM Studio.app/Contents/MacOS/LM Studio"], Role.SERVER),
        (["LM Studio Helper (GPU)", "--type=gpu-process"], Role.SERVER),
        (["LM Studio.exe"], Role.SERVER),
        ([r"C:\Ollama\ollama app.exe"], Role.MANAGER),
        ([], None),
        ([""], None),
    ],
)
def test_names_with_spaces_and_without_arguments_are_names_too(words: list[str], role: Role | None) -> None:
    assert role_of(words) is role


@pytest.mark.parametrize(
    ("name", "role"),
    [
        ("ollama.exe", Role.MANAGER),
        ("Ollama", Role.MANAGER),
        ("llama-server", Role.SERVER),
        ("kthreadd", Role.KERNEL),
        ("kworker/0:1", None),
        ("python", None),
        ("", None),
    ],
)
def test_where_the_system_shows_the_name_alone_it_has_to_do(name: str, role: Role | None) -> None:
    assert role_of_name(name) is role


WORDS = st.lists(
    st.one_of(
        st.text(max_size=12),
        st.sampled_from(
            ["python3", "-m", "-X", "-c", "vllm", "serve", "ollama", "runner", "herd", "VLLM::", "\\", "/"]
        ),
    ),
    max_size=6,
)


@given(WORDS)
@settings(max_examples=100, derandomize=True, database=None)
def test_whatever_a_process_was_started_with_it_has_a_role_or_none(words: list[str]) -> None:
    assert role_of(words) in {None, *Role}
