"""Rebuilds the schema of today's AWS provider from the npm package that is generated from it.

`@cdktn/provider-aws` has a class for each resource, data source and ephemeral resource, with the type of every argument and, in
comments, whether it is required, optional or computed. That is all that a plan needs. What it doesn't say: which values an argument
takes, and which ones exclude each other.
"""

import argparse
import itertools
import json
import re
import tarfile
from pathlib import Path

FLAGS = re.compile(r"^ +// (\w+) - computed: (\w+), optional: (\w+), required: (\w+)$", re.M)
GETTER = re.compile(r"(?:return (.*?);)", re.S)
ARGUMENT = re.compile(
    r'(\w+): \{\s+value: ([^\n]*),\n\s+isBlock: (true|false),\s+type: "(\w+)",\s+storageClassType: "(\w+)"',
)
CLASS = re.compile(r"^class (\w+) extends", re.M)
FUNCTION = re.compile(r"^function (\w+)ToHclTerraform\(struct\) \{\n(.*?)^\}", re.M | re.S)
MEMBER = re.compile(r'_\w+ = new (\w+)\(this, "(\w+)"')
SIMPLE = {"string": "string", "number": "number", "boolean": "bool", "any": "dynamic"}


class Package:
    """One file of the package: a resource, data source or ephemeral resource."""

    def __init__(self, text: str) -> None:
        # The source map in the last line is one word of half a megabyte, which no pattern should ever meet.
        text = text.partition("\n//# sourceMappingURL")[0]
        starts = [*CLASS.finditer(text), None]
        self.classes = {
            start[1]: text[start.start() : following.start() if following else len(text)]
            for start, following in itertools.pairwise(starts)
        }
        self.structs = {match[1].lower(): match[2] for match in FUNCTION.finditer(text)}
        self.main = list(self.classes)[-1]

    def block(self, name: str, arguments: str) -> dict:
        """The block that a class is for, given the source that lists its arguments."""
        source = self.classes[name]
        members = {attribute: kind for kind, attribute in MEMBER.findall(source)}
        types = {
            attribute: (value, block == "true", nesting, stored)
            for attribute, value, block, nesting, stored in ARGUMENT.findall(arguments)
        }
        attributes, blocks = {}, {}
        flags = list(FLAGS.finditer(source))
        for flag, following in zip(flags, [*flags[1:], None], strict=True):
            attribute, computed, optional, required = flag.groups()
            body = source[flag.end() : following.start() if following else len(source)]
            described = types.get(attribute)
            if described and described[1]:
                blocks[attribute] = self.nested(described, members, attribute, required == "true")
                continue
            if described:
                kind = argument_type(described[2], described[3])
            elif attribute in members:
                kind = self.computed_type(members[attribute])
            else:
                kind = getter_type(body)
            attributes[attribute] = {
                "type": kind,
                "required": required == "true",
                "optional": optional == "true",
                "computed": computed == "true",
                "write_only": bool(described) and "markWriteOnlyAttribute" in described[0],
            }
        return {"attributes": attributes, "blocks": blocks}

    def nested(self, described: tuple, members: dict, attribute: str, required: bool) -> dict:
        """A block within a block."""
        _, _, nesting, stored = described
        struct = stored.removesuffix("List").removesuffix("Map")
        member = members.get(attribute, "")
        single = member.endswith("OutputReference")
        return {
            "block": self.block(f"{struct}OutputReference", self.structs.get(struct.lower(), "")),
            "nesting": "single" if nesting == "struct" else nesting,
            "min": int(required),
            "max": 1 if single and nesting != "struct" else 0,
        }

    def computed_type(self, member: str) -> object:
        """The type of an attribute that is only told, never asked for, and has parts."""
        struct = member.removesuffix("List").removesuffix("Map").removesuffix("OutputReference")
        inner = self.block(f"{struct}OutputReference", "")
        parts = {name: attribute["type"] for name, attribute in inner["attributes"].items()}
        return ["map" if member.endswith("Map") else "list", ["object", parts]]


def argument_type(nesting: str, stored: str) -> object:
    """An argument's type, as Terraform writes types in JSON."""
    if nesting == "simple":
        return SIMPLE[stored]
    element = re.sub(r"(List|Map|Set)+$", "", stored)
    inner = SIMPLE.get(element, "dynamic")
    if stored.count("List") + stored.count("Map") > 1:  # a list of lists or the like
        inner = ["list" if stored.endswith("ListList") else "map", inner]
    return [nesting, inner]


def getter_type(body: str) -> object:
    """The type of an attribute that can only be read."""
    getter = GETTER.search(body)
    text = getter[1] if getter else ""
    for call, kind in (
        ("getStringMapAttribute", ["map", "string"]),
        ("getNumberMapAttribute", ["map", "number"]),
        ("getBooleanMapAttribute", ["map", "bool"]),
        ("getStringAttribute", "string"),
        ("getNumberListAttribute", ["list", "number"]),
        ("getNumberAttribute", "number"),
        ("getBooleanAttribute", "bool"),
    ):
        if call in text:
            return kind
    if "getListAttribute" in text:
        return ["set" if "Fn.tolist" in text else "list", "string"]
    return "dynamic"


def used_types(folders: list[Path]) -> dict[str, set[str]]:
    """The types that the configurations use, by kind."""
    used = {"resource": set(), "data": set(), "ephemeral": set()}
    for folder in folders:
        for path in folder.rglob("*.tf"):
            for kind, name in re.findall(
                r'^(resource|data|ephemeral) "(aws_\w+)"', path.read_text(), re.M
            ):
                used[kind].add(name)
    return used


def folder_of(kind: str, name: str) -> str:
    """Where the package has a type."""
    prefix = {"resource": "", "data": "data-aws-", "ephemeral": "ephemeral-aws-"}[kind]
    return prefix + name.removeprefix("aws_").replace("_", "-")


def rebuild(archive: Path, folders: list[Path]) -> dict:
    """The schema of the provider, and of the types that the folders' configurations use."""
    used = used_types(folders)
    wanted = {
        f"package/lib/{folder_of(kind, name)}/index.js": (kind, name)
        for kind in used
        for name in used[kind]
    }
    wanted["package/lib/provider/index.js"] = ("provider", "aws")
    schema = {"provider": None, "resource": {}, "data": {}, "ephemeral": {}}
    with tarfile.open(archive) as package:
        for member in package:
            if member.name not in wanted:
                continue
            kind, name = wanted.pop(member.name)
            module = Package(package.extractfile(member).read().decode())
            main = module.classes[module.main]
            arguments = main[main.index("synthesizeHclAttributes() {") :]
            if kind == "provider":
                schema["provider"] = provider_block(arguments)
            else:
                schema[kind][name] = module.block(module.main, arguments)
    # A type that isn't there is for Terraform to complain about, with the line where it stands.
    return schema


def provider_block(arguments: str) -> dict:
    """The provider's own arguments, all of which may be left out; the class has no comments about them."""
    attributes, blocks = {}, {}
    for name, _, block, nesting, stored in ARGUMENT.findall(arguments):
        if block == "false":
            kind = argument_type(nesting, stored)
            attributes[name] = {
                "type": kind,
                "required": False,
                "optional": True,
                "computed": False,
                "write_only": False,
            }
    plain = {"required": False, "optional": True, "computed": False, "write_only": False}
    tags = {"attributes": {"tags": {"type": ["map", "string"], **plain}}, "blocks": {}}
    blocks["default_tags"] = {"block": tags, "nesting": "list", "min": 0, "max": 0}
    return {"attributes": attributes, "blocks": blocks}


def main() -> None:
    """Writes the schema as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("archive", type=Path, help="the npm package, as `npm pack` leaves it")
    parser.add_argument("output", type=Path)
    parser.add_argument(
        "folders", type=Path, nargs="+", help="configurations whose types are wanted"
    )
    given = parser.parse_args()
    given.output.write_text(json.dumps(rebuild(given.archive, given.folders)))


if __name__ == "__main__":
    main()
