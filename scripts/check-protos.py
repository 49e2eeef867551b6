"""Compares each message, field, oneof and enum of protos/ with Envoy's own descriptors.

Run it with a python that has the packages `protobuf` and `xds-protos`; protoc must be installed.
Fails when a name, number, type or cardinality differs, and lists fields of Envoy's that we lack.
"""
import importlib
import pathlib
import subprocess
import sys
import tempfile
from google.protobuf import descriptor_pb2

root = pathlib.Path(__file__).resolve().parent.parent / "protos"
paths = sorted(str(p.relative_to(root)) for p in root.rglob("*.proto"))
with tempfile.NamedTemporaryFile() as out:
    subprocess.run(["protoc", f"--proto_path={root}", f"--descriptor_set_out={out.name}", *paths],
                   check=True)
    ours = descriptor_pb2.FileDescriptorSet.FromString(open(out.name, "rb").read())
wrong, compared, lacking = [], 0, 0


def compare(name, mine, official):
    global compared, lacking
    theirs = {f.name: f for f in official.field}
    for field in mine.field:
        compared += 1
        other = theirs.get(field.name)
        if other is None:
            wrong.append(f"{name}.{field.name}: not in Envoy's")
            continue
        for part in ("number", "type", "type_name", "label", "proto3_optional"):
            if getattr(field, part) != getattr(other, part):
                wrong.append(f"{name}.{field.name}: {part} is {getattr(field, part)!r},"
                             f" Envoy's is {getattr(other, part)!r}")
        group = [m.oneof_decl[f.oneof_index].name if f.HasField("oneof_index") else None
                 for m, f in ((mine, field), (official, other))]
        if group[0] != group[1]:
            wrong.append(f"{name}.{field.name}: oneof is {group[0]}, Envoy's is {group[1]}")
    if mine.field:
        for missing in sorted(set(theirs) - {f.name for f in mine.field}):
            lacking += 1
            print(f"lacking: {name}.{missing}")
    nested = {n.name: n for n in official.nested_type}
    for n in mine.nested_type:
        if n.name in nested:
            compare(f"{name}.{n.name}", n, nested[n.name])
        else:
            wrong.append(f"{name}.{n.name}: no such message")
    compare_enums(name, mine.enum_type, official.enum_type)


def compare_enums(scope, mine, official):
    theirs = {e.name: {v.name: v.number for v in e.value} for e in official}
    for enum in mine:
        for value in enum.value:
            if theirs.get(enum.name, {}).get(value.name) != value.number:
                wrong.append(f"{scope}.{enum.name}.{value.name}: differs")


for file in ours.file:
    if file.package.startswith("meshproxy."):
        continue
    module = importlib.import_module(file.name.removesuffix(".proto").replace("/", ".") + "_pb2")
    official = descriptor_pb2.FileDescriptorProto.FromString(module.DESCRIPTOR.serialized_pb)
    tops = {m.name: m for m in official.message_type}
    for message in file.message_type:
        if message.name in tops:
            compare(f"{file.package}.{message.name}", message, tops[message.name])
        else:
            wrong.append(f"{file.package}.{message.name}: no such message")
    compare_enums(file.package, file.enum_type, official.enum_type)
print("\n".join(wrong))
print(f"{compared} fields compared, {len(wrong)} differ, {lacking} lacking")
sys.exit(1 if wrong or compared < 1000 else 0)
