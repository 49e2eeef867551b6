"""Prints, as a Swift literal, what the text reader must know of the messages in a descriptor set."""
import sys
from google.protobuf import descriptor_pb2

KINDS = {1: "d", 2: "f", 3: "I", 4: "U", 5: "i", 6: "x", 7: "w", 8: "o", 9: "s", 12: "b", 13: "u",
         15: "W", 16: "X", 17: "z", 18: "Z"}

with open(sys.argv[1], "rb") as file:
    files = descriptor_pb2.FileDescriptorSet.FromString(file.read()).file
messages, enums, entries, opaque = {}, {}, {}, set()


def gather(prefix, message, path, comments):
    name = prefix + message.name
    if message.options.map_entry:
        entries[name] = message
        return
    messages[name] = message
    if "its content is not looked into" in comments.get(tuple(path), ""):
        opaque.add(name)
    for index, nested in enumerate(message.nested_type):
        gather(name + ".", nested, path + [3, index], comments)
    for enum in message.enum_type:
        enums[name + "." + enum.name] = enum


for file in files:
    if file.name == "google/protobuf/descriptor.proto":
        continue
    notes = {tuple(l.path): l.leading_comments for l in file.source_code_info.location}
    for index, message in enumerate(file.message_type):
        gather(file.package + ".", message, [4, index], notes)
    for enum in file.enum_type:
        enums[file.package + "." + enum.name] = enum

message_index = {name: index for index, name in enumerate(messages)}
enum_index = {name: index for index, name in enumerate(enums)}


def type_of(field):
    name = field.type_name[1:]
    if field.type == 11:
        return f"m{message_index[name]}"
    return f"e{enum_index[name]}" if field.type == 14 else KINDS[field.type]


print("// swift-format-ignore-file\n// Made by scripts/generate-protos; see Schema in MessageSchema.swift for"
      " its form.\n\nenum SchemaText {\n    static let messages: StaticString = \"\"\"")
for name, message in messages.items():
    print(("~" if name in opaque else "@") + name)
    for field in message.field:
        entry = entries.get(field.type_name[1:])
        cardinality = "*" if field.label == 3 else "-"
        if entry is not None:
            cardinality, kind = "%" + type_of(entry.field[0]), type_of(entry.field[1])
        else:
            kind = type_of(field)
        one = field.HasField("oneof_index") and not field.proto3_optional
        group = field.oneof_index if one else "-"
        print(field.name, field.number, cardinality, kind, group)
print("\"\"\"\n    static let enums: StaticString = \"\"\"")
for name, enum in enums.items():
    print("@" + name)
    for value in enum.value:
        print(value.name, value.number)
print("\"\"\"\n}")
