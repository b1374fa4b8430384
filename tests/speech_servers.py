"""What servers of speech answer when they are asked who they are, as their sources have it."""

from typing import Any


def whispercpp_page(path: str = "/inference") -> str:
    """The page of whisper.cpp's server, shortened: it names the path where it takes sound."""
    return (
        '\n    <html>\n    <head>\n        <title>Whisper.cpp Server</title>\n        <meta charset="utf-8">\n'
        f"    <body>\n        <h1>Whisper.cpp Server</h1>\n\n        <h2>{path}</h2>\n"
        f'            <form action="{path}" method="POST" enctype="multipart/form-data">\n'
    )


WHISPERCPP: dict[str, Any] = {"/health": {"status": "ok"}, "/": whispercpp_page()}
FASTER_WHISPER: dict[str, Any] = {
    "/health": {"status": "ok"},
    "/openapi.json": {
        "openapi": "3.1.0",
        "info": {"title": "faster-whisper-server", "version": "0.0.3"},
        "paths": {"/health": {}, "/v1/audio/transcriptions": {}, "/v1/audio/translations": {}},
    },
}
SPEACHES: dict[str, Any] = {
    "/health": {"message": "OK"},
    "/openapi.json": {"paths": {"/v1/audio/transcriptions": {}, "/v1/audio/speech": {}, "/api/ps": {}}},
    "/v1/models": {
        "object": "list",
        "data": [
            {"id": "Systran/faster-whisper-small", "owned_by": "Systran", "task": "automatic-speech-recognition"},
            {"id": "speaches-ai/Kokoro-82M-v1.0-ONNX", "owned_by": "speaches-ai", "task": "text-to-speech"},
            {"id": "of-no-task", "owned_by": "somebody"},
        ],
    },
    "/api/ps": {"models": ["Systran/faster-whisper-small"]},
}
_QWEN_ASR_IS = {"status": "ok", "model": "Qwen/Qwen3-ASR-0.6B", "queued_jobs": 0, "processing_jobs": 0}
QWEN_ASR: dict[str, Any] = {
    "/health": _QWEN_ASR_IS,
    "/v1/models": {"object": "list", "data": [{"id": "Qwen/Qwen3-ASR-0.6B", "owned_by": "mlx-qwen3-asr"}]},
}
QWEN_ASR_LOCKED: dict[str, Any] = {"/health": _QWEN_ASR_IS}
