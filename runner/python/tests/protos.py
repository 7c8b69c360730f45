"""worker.proto and calls.proto as the descriptor set that the runner sends; reads as much of the language as it uses."""

import re
from pathlib import Path

from google.protobuf import descriptor_pb2
from streamfleet_worker.wire import Wire

_ROOT = Path(__file__).parents[3] / "proto" / "proto"
_FILES = (
    "streamfleet/common/v1/common.proto",
    "streamfleet/worker/v1/worker.proto",
    "streamfleet/worker/v1/calls.proto",
)
_Field = descriptor_pb2.FieldDescriptorProto
_TOKENS = re.compile(r'"[^"]*"|[\w.]+|[{}=;]')


def wire():
    """The message classes, as in a worker."""
    files = descriptor_pb2.FileDescriptorSet()
    enums = set()
    for path in _FILES:
        _parse(path, files.file.add(), enums)
    for file in files.file:
        for message in file.message_type:
            for field in message.field:
                if field.type_name in enums:
                    field.type = _Field.TYPE_ENUM
    return Wire(files.SerializeToString())


def _parse(path, file, enums):
    source = re.sub(r"//.*", "", (_ROOT / path).read_text())
    tokens = iter(_TOKENS.findall(source))
    file.name, file.syntax = path, "proto3"
    for token in tokens:
        if token == "package":
            file.package = next(tokens)
        elif token == "import":
            file.dependency.append(next(tokens).strip('"'))
        elif token == "message":
            _message(tokens, file.message_type.add(), file.package)
        elif token == "enum":
            enums.add(f".{file.package}.{_enum(tokens, file.enum_type.add())}")


def _enum(tokens, enum):
    enum.name = next(tokens)
    assert next(tokens) == "{"
    for name in iter(lambda: next(tokens), "}"):
        assert next(tokens) == "="
        enum.value.add(name=name, number=int(next(tokens)))
        assert next(tokens) == ";"
    return enum.name


def _message(tokens, message, package):
    message.name = next(tokens)
    assert next(tokens) == "{"
    oneof = None
    for token in tokens:
        if token == "}":
            if oneof is None:
                return
            oneof = None
        elif token == "oneof":
            message.oneof_decl.add(name=next(tokens))
            oneof = len(message.oneof_decl) - 1
            assert next(tokens) == "{"
        elif token != ";":
            field = message.field.add(label=_Field.LABEL_OPTIONAL)
            if token == "repeated":
                field.label, token = _Field.LABEL_REPEATED, next(tokens)  # noqa: PLW2901
            kind = getattr(_Field, f"TYPE_{token.upper()}", None)
            if kind is None:
                field.type = _Field.TYPE_MESSAGE
                field.type_name = f".{token}" if "." in token else f".{package}.{token}"
            else:
                field.type = kind
            field.name = next(tokens)
            assert next(tokens) == "="
            field.number = int(next(tokens))
            if oneof is not None:
                field.oneof_index = oneof
