#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The wire contract of sluice.v1: what clients of yesterday rely on.

usage: tests/proto/wire.py          compares proto/ with the committed descriptor set
       tests/proto/wire.py accept   takes compatible additions into the committed set

The committed set is tests/proto/sluice_v1.binpb, a FileDescriptorSet as protoc writes it. Both sets
are read as facts, one line each (a field with its number, type and cardinality, an enum value, an
rpc with its types and streaming, a reserved number). A fact that is gone is an incompatible change,
whatever came in its place; a new fact is a compatible addition.
"""
import os
import subprocess
import sys
import tempfile

from google.protobuf import descriptor_pb2

ROOT = os.path.join(os.path.dirname(os.path.realpath(__file__)), '../..')
COMMITTED = os.path.join(os.path.dirname(os.path.realpath(__file__)), 'sluice_v1.binpb')
Field = descriptor_pb2.FieldDescriptorProto


def protos():
    """The .proto files, relative to proto/."""
    base = os.path.join(ROOT, 'proto')
    return sorted(os.path.relpath(os.path.join(folder, name), base)
                  for folder, _, names in os.walk(base)
                  for name in names if name.endswith('.proto'))


def compile_set():
    """What proto/ says now."""
    with tempfile.NamedTemporaryFile() as out:
        subprocess.run(['/usr/bin/protoc', '-I' + os.path.join(ROOT, 'proto'),
                        f'--descriptor_set_out={out.name}', *protos()], check=True)
        return descriptor_pb2.FileDescriptorSet.FromString(out.read())


def committed_set():
    with open(COMMITTED, 'rb') as f:
        return descriptor_pb2.FileDescriptorSet.FromString(f.read())


def facts(files):
    """Every fact of a descriptor set, as text."""
    found = set()
    for file in files.file:
        found.add(f'package {file.package} syntax {file.syntax}')
        for message in file.message_type:
            found |= message_facts(f'.{file.package}.{message.name}', message)
        for enum in file.enum_type:
            found |= enum_facts(f'.{file.package}.{enum.name}', enum)
        for service in file.service:
            name = f'.{file.package}.{service.name}'
            found.add(f'service {name}')
            found |= {f'rpc {name}/{m.name} '
                      f'({"stream " * m.client_streaming}{m.input_type}) -> '
                      f'({"stream " * m.server_streaming}{m.output_type})' for m in service.method}
    return found


def message_facts(name, message):
    found = {f'message {name}'}
    for field in message.field:
        oneof = ''
        if field.HasField('oneof_index') and not field.proto3_optional:
            oneof = f' oneof {message.oneof_decl[field.oneof_index].name}'
        found.add(f'field {name}.{field.name} = {field.number} '
                  f'{Field.Label.Name(field.label)} {Field.Type.Name(field.type)} '
                  f'{field.type_name}{" presence" * field.proto3_optional}'
                  f'{oneof} json {field.json_name} packed {field.options.packed}')
    found |= {f'reserved {name} number {n}'
              for r in message.reserved_range for n in range(r.start, min(r.end, r.start + 1000))}
    found |= {f'reserved {name} name {n}' for n in message.reserved_name}
    for nested in message.nested_type:
        found |= message_facts(f'{name}.{nested.name}', nested)
    for enum in message.enum_type:
        found |= enum_facts(f'{name}.{enum.name}', enum)
    return found


def enum_facts(name, enum):
    return {f'enum {name}'} | {f'value {name}.{v.name} = {v.number}' for v in enum.value}


def broken(old, new):
    """The facts of `old` that `new` no longer holds: the incompatible changes."""
    return sorted(facts(old) - facts(new))


def added(old, new):
    return sorted(facts(new) - facts(old))


def main(arguments):
    if arguments not in ([], ['accept']):
        print(__doc__, file=sys.stderr)
        return 2
    old = committed_set() if os.path.exists(COMMITTED) else descriptor_pb2.FileDescriptorSet()
    new = compile_set()
    gone = broken(old, new)
    for fact in gone:
        print(f'gone: {fact}')
    for fact in added(old, new):
        print(f'new: {fact}')
    if gone:
        print('incompatible: put back what is gone (reserve nothing, remove nothing; add instead)')
        return 1
    if arguments == ['accept']:
        with open(COMMITTED, 'wb') as f:
            f.write(new.SerializeToString(deterministic=True))
    return 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
