#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The wire contract holds (wire.py), and what would break it is seen."""
import re
import sys
import unittest

import wire
from google.protobuf import descriptor_pb2

Field = descriptor_pb2.FieldDescriptorProto


class Contract(unittest.TestCase):
    def test_every_fact_that_was_ever_committed_still_holds(self):
        self.assertEqual(wire.broken(wire.committed_set(), wire.compile_set()), [])

    def test_the_committed_set_knows_every_fact(self):
        self.assertEqual(wire.added(wire.committed_set(), wire.compile_set()), [],
                         'run tests/proto/wire.py accept, and commit sluice_v1.binpb')

    def test_the_set_holds_all_services(self):
        services = {f for f in wire.facts(wire.committed_set()) if f.startswith('service ')}
        self.assertGreaterEqual(services, {f'service .sluice.v1.{name}Service' for name in (
            'Block', 'Disk', 'Volume', 'Export', 'Session', 'Operation', 'Stats', 'Server')})


class Rules(unittest.TestCase):
    """House rules of the schema, over every message there is."""

    def setUp(self):
        self.set = wire.compile_set()

    def files(self):
        return (f for f in self.set.file if f.package == 'sluice.v1')

    def test_every_rpc_has_a_request_and_a_response_of_its_own(self):
        seen = set()
        for file in self.files():
            for service in file.service:
                for method in service.method:
                    for kind, name in (('Request', method.input_type),
                                       ('Response', method.output_type)):
                        self.assertEqual(name, f'.sluice.v1.{method.name}{kind}')
                        self.assertNotIn(name, seen)
                        seen.add(name)
        self.assertGreater(len(seen), 60)

    def test_every_enum_begins_with_unspecified_and_repeats_its_name(self):
        for file in self.files():
            for enum in file.enum_type:
                prefix = re.sub(r'(?<!^)(?=[A-Z])', '_', enum.name).upper() + '_'
                self.assertEqual((enum.value[0].name, enum.value[0].number),
                                 (prefix + 'UNSPECIFIED', 0))
                for value in enum.value:
                    self.assertTrue(value.name.startswith(prefix), value.name)

    def test_every_list_has_pages(self):
        fields = {m.name: {f.name for f in m.field} for f in self.files() for m in f.message_type}
        lists = [n for n in fields if re.match(r'List\w+Request$', n) and fields[n]]
        self.assertGreater(len(lists), 4)
        for name in lists:
            self.assertGreaterEqual(fields[name], {'page_size', 'page_token'}, name)
            self.assertIn('next_page_token', fields[name.replace('Request', 'Response')])


def message(files, name):
    return next(m for f in files.file for m in f.message_type if m.name == name)


def field(files, owner, name):
    return next(f for f in message(files, owner).field if f.name == name)


def enum(files, name):
    return next(e for f in files.file for e in f.enum_type if e.name == name)


def service(files, name):
    return next(s for f in files.file for s in f.service if s.name == name)


def method(files, owner, name):
    return next(m for m in service(files, owner).method if m.name == name)


def drop(repeated, name):
    del repeated[[x.name for x in repeated].index(name)]


def set_to(name, value, *where):
    return lambda files: setattr(where[0](files, *where[1:]), name, value)


BREAKS = {
    'a message removed': lambda files: drop(
        next(f for f in files.file if f.name.endswith('block.proto')).message_type, 'Op'),
    'a field removed': lambda files: drop(message(files, 'Op').field, 'flags'),
    'a field renamed': set_to('name', 'bits', field, 'Op', 'flags'),
    'a field renamed in JSON': set_to('json_name', 'bits', field, 'Op', 'flags'),
    'a field renumbered': set_to('number', 77, field, 'Op', 'flags'),
    'a field retyped': set_to('type', Field.TYPE_UINT64, field, 'Op', 'flags'),
    'a field of another message type': set_to('type_name', '.sluice.v1.OpResult', field,
                                              'IoRequest', 'ops'),
    'a field made repeated': set_to('label', Field.LABEL_REPEATED, field, 'Op', 'flags'),
    'a repeated field made single': set_to('label', Field.LABEL_OPTIONAL, field, 'IoRequest',
                                           'ops'),
    'a field that loses its presence': set_to('proto3_optional', False, field, 'Op', 'crc32c'),
    'a field moved out of its oneof': lambda files: field(
        files, 'Volume', 'concat').ClearField('oneof_index'),
    'packing changed': lambda files: setattr(
        field(files, 'IoRequest', 'cancel_op_ids').options, 'packed', True),
    'an enum removed': lambda files: drop(
        next(f for f in files.file if f.name.endswith('block.proto')).enum_type, 'OpKind'),
    'an enum value removed': lambda files: drop(enum(files, 'OpKind').value, 'OP_KIND_FLUSH'),
    'an enum value renumbered': lambda files: setattr(enum(files, 'OpKind').value[2], 'number', 9),
    'an rpc removed': lambda files: drop(service(files, 'BlockService').method, 'Flush'),
    'a service renamed': set_to('name', 'Blocks', service, 'BlockService'),
    'a client stream made single': set_to('client_streaming', False, method, 'BlockService', 'Io'),
    'a response made a stream': set_to('server_streaming', True, method, 'BlockService', 'Read'),
    'an rpc with another request': set_to('input_type', '.sluice.v1.FlushRequest', method,
                                          'BlockService', 'Read'),
    'the package renamed': lambda files: setattr(files.file[-1], 'package', 'sluice.v2'),
}


class Comparer(unittest.TestCase):
    def test_a_set_is_compatible_with_itself(self):
        files = wire.compile_set()
        self.assertEqual((wire.broken(files, files), wire.added(files, files)), ([], []))

    def test_incompatible_changes_are_seen(self):
        for name, change in BREAKS.items():
            with self.subTest(name):
                new = wire.compile_set()
                change(new)
                self.assertNotEqual(wire.broken(wire.compile_set(), new), [])

    def test_a_reserved_number_stays_reserved(self):
        old = wire.compile_set()
        message(old, 'Op').reserved_range.add(start=20, end=22)
        message(old, 'Op').reserved_name.append('gone')
        self.assertEqual(len(wire.broken(old, wire.compile_set())), 3)
        self.assertEqual(wire.broken(wire.compile_set(), old), [])

    def test_additions_are_compatible(self):
        new = wire.compile_set()
        message(new, 'Op').field.add(name='hint', number=30, type=Field.TYPE_UINT32,
                                     label=Field.LABEL_OPTIONAL, json_name='hint')
        enum(new, 'OpKind').value.add(name='OP_KIND_COPY', number=9)
        service(new, 'BlockService').method.add(name='Copy', input_type='.sluice.v1.FlushRequest',
                                                output_type='.sluice.v1.FlushResponse')
        self.assertEqual(wire.broken(wire.compile_set(), new), [])
        self.assertEqual(len(wire.added(wire.compile_set(), new)), 3)


if __name__ == '__main__':
    sys.exit(0 if unittest.main(exit=False, verbosity=2).result.wasSuccessful() else 1)
