"""Verifies DKIM signatures with dkimpy, which shares no code with ours.

Usage: verify.py RECORDS MAIL...   RECORDS has lines `name<TAB>text`: the TXT records to be found.
Prints for each mail its file name and, for each signature from the top, `pass` or what is wrong.
"""

import sys

import dkim

records = {}
with open(sys.argv[1], encoding="ascii") as lines:
    for line in lines:
        name, text = line.rstrip("\n").split("\t")
        records[name.encode() + b"."] = text.encode()


def lookup(name, timeout=5):
    return records.get(name if isinstance(name, bytes) else name.encode())


for path in sys.argv[2:]:
    with open(path, "rb") as file:
        mail = file.read()
    verdicts = []
    try:
        verifier = dkim.DKIM(mail)
    except dkim.DKIMException as fault:
        print(path.rsplit("/", 1)[-1], f"unreadable: {fault}", sep="\t")
        continue
    signatures = [field for field in verifier.headers if field[0].lower() == b"dkim-signature"]
    for place in range(len(signatures)):
        try:
            verdicts.append("pass" if verifier.verify(idx=place, dnsfunc=lookup) else "fail")
        except dkim.DKIMException as fault:
            verdicts.append(f"{type(fault).__name__}: {fault}")
    print(path.rsplit("/", 1)[-1], ", ".join(verdicts), sep="\t")
