# SPDX-License-Identifier: Apache-2.0
"""Certificate authorities made on the spot.

    authority = Authority(folder, 'ca')
    vm7 = authority.issue('vm7')        # .cert and .key are paths
    context = vm7.context(authority)    # an ssl.SSLContext that shows it
"""
import datetime
import os
import ssl

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

DAY = datetime.timedelta(days=1)


def named(name):
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


class Issued:
    """A certificate and its key, in files."""

    def __init__(self, cert, key):
        self.cert, self.key = cert, key

    def context(self, authority, version=None, alpn=('h2',)):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(authority.cert)
        context.load_cert_chain(self.cert, self.key)
        if alpn:
            context.set_alpn_protocols(list(alpn))
        if version:
            context.set_ciphers('ALL:@SECLEVEL=0')
            context.minimum_version = context.maximum_version = version
        return context


class Authority:
    def __init__(self, folder, name):
        self.folder, self.name, self.issued = folder, name, 0
        self.private = ec.generate_private_key(ec.SECP256R1())
        self.cert = self.write(f'{name}.pem', self.sign(
            name, self.private.public_key(), ca=True).public_bytes(serialization.Encoding.PEM))

    def write(self, name, data):
        path = os.path.join(self.folder, name)
        with open(path + '.new', 'wb', opener=lambda p, f: os.open(p, f, 0o600)) as f:
            f.write(data)
        os.rename(path + '.new', path)
        return path

    def sign(self, name, public, ca=False, dns=(), uri=(), days=1):
        now = datetime.datetime.utcnow()
        usage = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        builder = x509.CertificateBuilder().subject_name(named(name)).issuer_name(
            named(self.name)).public_key(public).serial_number(
            x509.random_serial_number()).not_valid_before(now - 10 * DAY).not_valid_after(
            now + days * DAY).add_extension(x509.BasicConstraints(ca, None), critical=True)
        if not ca:
            builder = builder.add_extension(x509.ExtendedKeyUsage(usage), critical=False)
        names = [x509.DNSName(n) for n in dns] + [x509.UniformResourceIdentifier(u) for u in uri]
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        return builder.sign(self.private, hashes.SHA256())

    def issue(self, name, file=None, **more):
        """A certificate of that common name; `days` below 0: it has expired."""
        self.issued += 1
        file = file or f'{self.name}-{self.issued}'
        private = ec.generate_private_key(ec.SECP256R1())
        key = self.write(f'{file}.key', private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption()))
        cert = self.sign(name, private.public_key(), **more)
        return Issued(self.write(f'{file}.pem', cert.public_bytes(serialization.Encoding.PEM)), key)

    def issue_server(self, **more):
        return self.issue('server', dns=('localhost',), **more)
