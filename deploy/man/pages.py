#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Man pages out of the help texts and the schema of the config.

usage: pages.py OUT_DIR SLUICE SLUICED CONFIG_PROTO VERSION DATE

Writes sluice.1, a sluice-COMMAND.1 for each command, sluiced.8 (with what this folder's sluiced.8
says beside the options) and sluice-config.5.
"""
import gzip
import os
import re
import subprocess
import sys

PROJECT = 'Sluice'


class Help:
    """What `PROGRAM ... --help` says, taken apart."""

    def __init__(self, *command):
        self.command = list(command)
        self.name = ' '.join([os.path.basename(command[0]), *command[1:]])
        done = subprocess.run([*command, '--help'], stdout=subprocess.PIPE, text=True, check=True)
        head, _, rest = done.stdout.partition('Usage: ')
        usage, _, rest = rest.partition('\n')
        self.what = head.strip()
        self.usage = usage.strip()
        self.sections = []  # (title, [(term, text)])
        self.footer = []    # paragraphs: lists of lines
        self._take(rest)

    def _take(self, text):
        entries = None
        for block in re.split(r'\n\s*\n', text.strip('\n')):
            lines = block.strip('\n').split('\n')
            if re.match(r'^[A-Z][^.]*:$', lines[0]) and lines[0] != 'Examples:':
                entries = []
                self.sections.append((lines[0][:-1], entries))
                for line in lines[1:]:
                    self._take_entry(entries, line)
            elif lines != ['']:
                self.footer.append(lines)

    @staticmethod
    def _take_entry(entries, line):
        if re.match(r'^ {2}\S', line):
            term, _, rest = line[2:].partition('  ')
            # CLI11 shows a positional's name and, in its place for a type, the name again.
            entries.append([re.sub(r'^(\w+) \1$', r'\1', term.strip()), rest.strip()])
        else:
            entries[-1][1] = (entries[-1][1] + ' ' + line.strip()).strip()

    def commands(self):
        """The commands below, as Help."""
        for title, entries in self.sections:
            for term, _ in entries:
                name = term.split(',')[0]
                if re.match(r'^[a-z]', name) and title not in ('Options', 'Positionals'):
                    yield Help(*self.command, name)

    def options(self):
        return [(t, e) for t, e in self.sections
                if not any(re.match(r'^[a-z]', term) for term, _ in e)]


def plain(text):
    return text.replace('\\', '\\e').replace('-', '\\-').replace("'", '\\(aq')


def line(text):
    text = plain(text)
    return '\\&' + text if text.startswith('.') else text


def bold(text):
    return '\\fB' + plain(text) + '\\fR'


def term(text):
    """An option with its value: flags bold, what stands for a value in italics, defaults plain."""
    flags, _, default = text.partition(' [')
    words = []
    for word in re.split(r'([ ,])', flags):
        if word.startswith('-'):
            words.append(bold(word))
        elif word.isupper():
            words.append('\\fI' + plain(word) + '\\fR')
        else:
            words.append(plain(word))
    return ''.join(words) + (plain(' [' + default) if default else '')


class Page:
    release = ''  # "VERSION", "DATE", of all pages
    date = ''

    def __init__(self, name, section, what):
        self.name, self.section = name, section
        self.said = []  # paragraphs: what commands have in common is said once
        self.lines = [f'.TH {name.upper()} {section} {self.date} "{PROJECT} {self.release}" '
                      f'"{PROJECT} Manual"',
                      '.SH NAME', f'{plain(name)} \\- {plain(what)}']

    def heading(self, text, below=False):
        text = text if below else text.upper()
        self.lines.append(f'.{"SS" if below else "SH"} "{plain(text)}"')

    def paragraph(self, lines):
        if lines in self.said:
            return
        self.said.append(lines)
        if not self.lines[-1].startswith('.S'):
            self.lines.append('.PP')
        self.lines += [line(x.strip()) for x in lines]

    def example(self, lines):
        if not self.lines[-1].startswith('.S'):
            self.lines.append('.PP')
        self.lines += ['.RS 4', '.nf', *(line(x.strip()) for x in lines), '.fi', '.RE']

    def entry(self, head, text):
        self.lines += ['.TP', head, line(text) if text else '\\&']

    def synopsis(self, usage):
        name, _, rest = usage.partition(' ')
        if not self.lines[-1].startswith('.S'):
            self.lines.append('.br')
        self.lines.append(f'{bold(name)} {term(rest)}')

    def footer(self, shown, headings=True):
        for lines in shown.footer:
            if lines[0] == 'Examples:':
                if headings:
                    self.heading('Examples')
                self.example(lines[1:])
            else:
                self.paragraph(lines)

    def write(self, folder):
        path = os.path.join(folder, f'{self.name}.{self.section}.gz')
        text = '\n'.join(self.lines) + '\n'
        with open(path, 'wb') as f:
            # The same page is the same file: no name, no time.
            f.write(gzip.compress(text.encode(), 9, mtime=0))


def sentence(text):
    text = text[0].upper() + text[1:]
    return text if text.endswith('.') else text + '.'


def add_options(page, shown, below):
    for title, entries in shown.options():
        entries = [(head, text) for head, text in entries if head != '-h,--help']
        if entries and not below:
            page.heading(title)
        for head, text in entries:
            page.entry(term(head), text)


def add_commands(page, shown):
    for command in shown.commands():
        below = list(command.commands())
        if below:
            add_commands(page, command)
            continue
        page.heading(command.usage.replace('[OPTIONS] ', '').replace(' [OPTIONS]', ''), below=True)
        page.paragraph([sentence(command.what)])
        add_options(page, command, below=True)
        page.footer(command, headings=False)


def command_page(shown):
    page = Page(shown.name.replace(' ', '-'), 1, shown.what)
    page.heading('Synopsis')
    leaves = [c for c in shown.commands() if not list(c.commands())]
    nested = [n for c in shown.commands() for n in c.commands()]
    for usage in [c.usage for c in leaves + nested] or [shown.usage]:
        page.synopsis(usage)
    page.heading('Description')
    page.paragraph([sentence(shown.what)])
    paragraphs = [f for f in shown.footer if f[0] != 'Examples:']
    examples = [f for f in shown.footer if f[0] == 'Examples:']
    for lines in paragraphs:
        page.paragraph(lines)
    add_options(page, shown, below=False)
    if list(shown.commands()):
        page.heading('Commands')
        add_commands(page, shown)
    for lines in examples:
        page.heading('Examples')
        page.example(lines[1:])
    page.heading('See also')
    page.paragraph(['sluice(1)'])
    return page


def server_page(shown):
    """The page of this folder, with the options of the help before what it says of the service."""
    page = Page('sluiced', 8, 'network block device server')
    head = page.lines[0]
    page.lines = []
    add_options(page, shown, below=False)
    for command in shown.commands():
        for title, entries in command.options():
            page.heading(f'{title} of {command.name}')
            for option, text in entries:
                if option != '-h,--help':
                    page.entry(term(option), text)
    own = os.path.join(os.path.dirname(os.path.realpath(__file__)), 'sluiced.8')
    with open(own, encoding='utf-8') as f:
        before, service, after = f.read().rstrip('\n').partition('.SH SERVICE')
    if not service:
        sys.exit(f'{own}: it has no section SERVICE')
    before = re.sub(r'^\.TH .*$', lambda _: head, before, flags=re.M).rstrip('\n')
    page.lines = [*before.split('\n'), *page.lines, *(service + after).split('\n')]
    return page


def main_page(shown):
    page = Page('sluice', 1, 'the client side of the Sluice block device server')
    page.heading('Synopsis')
    page.synopsis('sluice [OPTIONS] COMMAND ...')
    page.heading('Description')
    page.paragraph(['Looks at, moves, measures and manages what block device servers export. Each '
                    'command has a page of its own, named sluice-COMMAND.'])
    for lines in shown.footer:
        page.paragraph(lines)
    for title, entries in shown.sections:
        page.heading(title)
        for head, text in entries:
            if head != '-h,--help':
                page.entry(term(head) if head.startswith('-') else bold(head), text)
    page.heading('See also')
    page.paragraph([', '.join(f'sluice-{c.name.split()[-1]}(1)' for c in shown.commands())
                    + ', sluiced(8), sluice-config(5)'])
    return page


def comment_above(lines):
    text = ' '.join(x.strip()[2:].strip() for x in lines)
    return re.sub(r'\s+', ' ', text).strip()


def config_page(proto):
    """The messages of config.proto, each with its fields and what their comments say."""
    page = Page('sluice-config', 5, 'the configuration of sluiced')
    page.heading('Description')
    with open(proto, encoding='utf-8') as f:
        lines = f.read().split('\n')
    above, inside, began = [], False, False
    for text in lines:
        if text.strip().startswith('//'):
            above.append(text)
            continue
        message = re.match(r'^(message|enum) (\w+) \{', text)
        field = re.match(r'^ +(?:(optional|repeated) )?(?:([\w.]+) )?(\w+) = \d+;', text)
        if message:
            began = True
            page.heading(message.group(2))
            if above:
                page.paragraph([comment_above(above)])
            inside = not text.endswith('}')
        elif field and inside:
            kind = ' '.join(filter(None, field.groups()[:2]))
            page.entry(f'{bold(field.group(3))} {plain(kind)}'.strip(), comment_above(above))
        elif re.match(r'^ +oneof', text) and above:
            page.paragraph([comment_above(above)])
        elif not began and above:
            for paragraph in '\n'.join(above).split('\n//\n'):
                if 'SPDX' in paragraph:
                    paragraph = paragraph.partition('\n')[2]
                page.paragraph([comment_above(paragraph.split('\n'))])
        above = []
    page.heading('Examples')
    page.example(['nbd { listen: "127.0.0.1:10809" }',
                  'grpc { listen: "unix:/run/sluice/grpc.sock" }',
                  'disk { name: "d0" path: "/srv/d0.img" bufq: "deadline" }',
                  'disk { name: "d1" path: "/dev/sdb" }',
                  'volume { name: "fast" stripe { chunk_bytes: 65536 leg: "d0" leg: "d1" } }',
                  'export { name: "data" volume: "fast" }'])
    page.heading('See also')
    page.paragraph(['sluiced(8), sluice(1)'])
    return page


def main(folder, sluice, sluiced, proto, version, date):
    Page.release, Page.date = version, date
    os.makedirs(folder, exist_ok=True)
    shown = Help(sluice)
    pages = [main_page(shown), *map(command_page, shown.commands()), server_page(Help(sluiced)),
             config_page(proto)]
    for page in pages:
        page.write(folder)


if __name__ == '__main__':
    if len(sys.argv) != 7:
        sys.exit(__doc__)
    main(*sys.argv[1:])
