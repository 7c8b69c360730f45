"""A provider with the schema that schema.py has rebuilt, which makes nothing: what AWS would have to say it makes up.

`init`, `validate`, `plan`, `apply` and `destroy` work against it, so every argument's name and type, every reference and every condition
in the modules is evaluated. It refuses nothing that the schema allows.
"""

import hashlib
import json
import secrets
import sys
from pathlib import Path

import grpc
import msgpack
from tf import provider as tf_provider
from tf import runner
from tf.gen import tfplugin_pb2 as pb
from tf.gen import tfplugin_pb2_grpc as rpc

ACCOUNT = "123456789012"
REGION = "eu-central-1"
ZONES = [f"{REGION}{zone}" for zone in "abc"]
NESTING = {"list": 2, "set": 3, "map": 4, "single": 1}

# What data sources answer.
KNOWN = {
    "aws_caller_identity": {
        "account_id": ACCOUNT,
        "arn": f"arn:aws:iam::{ACCOUNT}:user/stub",
        "user_id": "STUB",
    },
    "aws_partition": {"partition": "aws", "dns_suffix": "amazonaws.com"},
    "aws_region": {"region": REGION, "name": REGION, "description": "Europe (Frankfurt)"},
    "aws_availability_zones": {"names": ZONES, "zone_ids": ["euc1-az1", "euc1-az2", "euc1-az3"]},
    "aws_ssm_parameter": {"value": "ami-0123456789abcdef0", "version": 1, "type": "String"},
}


class Unknown:
    """What is known only after an apply."""


def pack(value: object) -> pb.DynamicValue:
    """A value as the protocol has it."""

    def default(item: object) -> msgpack.ExtType:
        if item is Unknown:
            return msgpack.ExtType(0, b"\0")
        raise TypeError(f"cannot encode {item!r}")

    return pb.DynamicValue(msgpack=msgpack.packb(value, default=default))


def unpack(value: pb.DynamicValue) -> object:
    """The reverse. Refined unknowns (code 12) are unknown all the same."""
    if value.json:
        return json.loads(value.json)
    return msgpack.unpackb(value.msgpack, ext_hook=lambda _code, _data: Unknown)


def schema_message(block: dict) -> pb.Schema:
    """A block of the schema as the protocol has it."""
    return pb.Schema(version=0, block=block_message(block))


def block_message(block: dict) -> pb.Schema.Block:
    """The same, without the version around it."""
    attributes = []
    for name, attribute in block["attributes"].items():
        message = pb.Schema.Attribute(
            name=name,
            type=json.dumps(attribute["type"]).encode(),
            required=attribute["required"],
            optional=attribute["optional"],
            computed=attribute["computed"],
        )
        if attribute["write_only"]:
            # Field 11, which is newer than the library's copy of the protocol.
            message.MergeFromString(b"\x58\x01")
        attributes.append(message)
    nested = [
        pb.Schema.NestedBlock(
            type_name=name,
            block=block_message(inner["block"]),
            nesting=NESTING[inner["nesting"]],
            min_items=inner["min"],
            max_items=inner["max"],
        )
        for name, inner in block["blocks"].items()
    ]
    return pb.Schema.Block(version=0, attributes=attributes, block_types=nested)


def each_block(block: dict, value: dict) -> list[tuple[dict, dict]]:
    """The blocks within one, with their schemas."""
    found = []
    for name, inner in block["blocks"].items():
        content = value.get(name)
        if isinstance(content, dict):
            found.append((inner["block"], content))
        elif isinstance(content, list):
            found.extend((inner["block"], item) for item in content if isinstance(item, dict))
    return found


def plan_unknowns(block: dict, value: dict) -> None:
    """Marks what AWS would decide."""
    for name, attribute in block["attributes"].items():
        if attribute["write_only"]:
            value[name] = None
        elif attribute["computed"] and value.get(name) is None:
            value[name] = Unknown
    for inner, content in each_block(block, value):
        plan_unknowns(inner, content)


def decide(kind: str, block: dict, value: dict, known: dict) -> None:
    """Makes up what AWS would decide."""
    mark = hashlib.sha256(
        json.dumps([kind, value], default=str, sort_keys=True).encode()
    ).hexdigest()
    for name, attribute in block["attributes"].items():
        if attribute["write_only"]:
            value[name] = None
        elif value.get(name) is Unknown or (value.get(name) is None and attribute["computed"]):
            value[name] = (
                known[name]
                if name in known
                else made_up(kind, name, attribute["type"], mark, value)
            )
    for inner, content in each_block(block, value):
        decide(kind, inner, content, {})


def made_up(kind: str, name: str, type_: object, mark: str, value: dict) -> object:
    """One value of the right type, and of the form that AWS gives it where other arguments depend on that."""
    if name == "tags_all":
        return value.get("tags") or {}
    if isinstance(type_, list):
        return {} if type_[0] == "map" else []
    if type_ == "number":
        return 1
    if type_ == "bool":
        return False
    if name == "id" or name.endswith("_id"):
        return str(
            value.get("name")
            or value.get("bucket")
            or f"{kind.removeprefix('aws_').replace('_', '-')}-{mark[:8]}"
        )
    if name.endswith("arn"):
        return f"arn:aws:stub:{REGION}:{ACCOUNT}:{kind}/{mark[:8]}"
    if name.endswith("ip"):
        return "10.42.0.10"
    return f"{name.replace('_', '-')}-{mark[:8]}"


class Stub(rpc.ProviderServicer):
    """The protocol's calls."""

    def __init__(self, schema: dict) -> None:
        self.schema = schema

    def GetMetadata(self, request: object, context: grpc.ServicerContext) -> object:
        context.abort(grpc.StatusCode.UNIMPLEMENTED, "ask for the schema")

    def GetProviderSchema(self, request: object, context: object) -> object:
        answer = pb.GetProviderSchema.Response(
            provider=schema_message(self.schema["provider"]),
            resource_schemas={
                name: schema_message(block) for name, block in self.schema["resource"].items()
            },
            data_source_schemas={
                name: schema_message(block) for name, block in self.schema["data"].items()
            },
        )
        for name, block in self.schema["ephemeral"].items():
            # Field 8, newer than the library too: a map's entry, with its key and its value.
            entry = lengthy(1, name.encode()) + lengthy(
                2, schema_message(block).SerializeToString()
            )
            answer.MergeFromString(lengthy(8, entry))
        return answer

    def ValidateProviderConfig(self, request: object, context: object) -> object:
        return pb.ValidateProviderConfig.Response()

    def ValidateResourceConfig(self, request: object, context: object) -> object:
        return pb.ValidateResourceConfig.Response()

    def ValidateDataResourceConfig(self, request: object, context: object) -> object:
        return pb.ValidateDataResourceConfig.Response()

    def ConfigureProvider(self, request: object, context: object) -> object:
        return pb.ConfigureProvider.Response()

    def GetFunctions(self, request: object, context: object) -> object:
        return pb.GetFunctions.Response()

    def UpgradeResourceState(self, request: object, context: object) -> object:
        return pb.UpgradeResourceState.Response(
            upgraded_state=pack(json.loads(request.raw_state.json))
        )

    def ReadResource(self, request: object, context: object) -> object:
        return pb.ReadResource.Response(new_state=request.current_state)

    def PlanResourceChange(self, request: object, context: object) -> object:
        block = self.schema["resource"][request.type_name]
        proposed = unpack(request.proposed_new_state)
        if proposed is not None:
            prior = unpack(request.prior_state)
            plan_unknowns(block, proposed)
            # The one thing that must be seen to change with the rest: groups follow a template's version.
            if request.type_name == "aws_launch_template" and prior and prior != proposed:
                proposed["latest_version"] = Unknown
        return pb.PlanResourceChange.Response(planned_state=pack(proposed), legacy_type_system=True)

    def ApplyResourceChange(self, request: object, context: object) -> object:
        planned = unpack(request.planned_state)
        if planned is not None:
            prior = unpack(request.prior_state)
            known = (
                {"latest_version": prior["latest_version"] + 1}
                if prior and "latest_version" in prior
                else {}
            )
            decide(request.type_name, self.schema["resource"][request.type_name], planned, known)
        return pb.ApplyResourceChange.Response(new_state=pack(planned), legacy_type_system=True)

    def ReadDataSource(self, request: object, context: object) -> object:
        value = unpack(request.config)
        decide(
            request.type_name,
            self.schema["data"][request.type_name],
            value,
            KNOWN.get(request.type_name, {}),
        )
        return pb.ReadDataSource.Response(state=pack(value))

    def StopProvider(self, request: object, context: object) -> object:
        return pb.StopProvider.Response()


def lengthy(field: int, content: bytes) -> bytes:
    """A field of bytes, as protobuf writes it."""
    size, length = len(content), b""
    while size > 0x7F:
        length += bytes([size & 0x7F | 0x80])
        size >>= 7
    return bytes([field << 3 | 2]) + length + bytes([size]) + content


def open_ephemeral(schema: dict, request: bytes) -> bytes:
    """Answers a request for an ephemeral resource: a password of the length that is asked for."""
    message = pb.ReadDataSource.Request.FromString(
        request
    )  # type name and config have the same fields
    value = unpack(message.config)
    for name, attribute in schema["ephemeral"][message.type_name]["attributes"].items():
        if attribute["computed"] and value.get(name) is None:
            value[name] = (
                REGION
                if name == "region"
                else secrets.token_hex(int(value.get("password_length") or 32) // 2)
            )
    return lengthy(3, pack(value).SerializeToString())


def main() -> None:
    """Serves the provider to the Terraform that started this."""
    schema = json.loads(Path(sys.argv[1]).read_text())
    register = rpc.add_ProviderServicer_to_server

    def register_all(servicer: object, server: grpc.Server) -> None:
        register(servicer, server)
        answers = {
            "ValidateEphemeralResourceConfig": lambda _request, _context: b"",
            "OpenEphemeralResource": lambda request, _context: open_ephemeral(schema, request),
            "CloseEphemeralResource": lambda _request, _context: b"",
        }
        handlers = {
            name: grpc.unary_unary_rpc_method_handler(answer) for name, answer in answers.items()
        }
        server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler("tfplugin6.Provider", handlers),)
        )

    rpc.add_ProviderServicer_to_server = register_all
    tf_provider.ProviderServicer = lambda _provider: Stub(schema)
    runner.run_provider(None, sys.argv)


if __name__ == "__main__":
    main()
