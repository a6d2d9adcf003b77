"""A stand-in for g++ and protoc, by the name it is called by: writes files that say what they were made of.

It has no header whose name stands in $FAKE_MISSING, takes $FAKE_SECONDS, appends its process number and what it makes
to $FAKE_COMPILED, fails at a source that has $FAKE_FAULT in it, and is of the version $FAKE_GXX.
"""

import os
import sys
import time
from pathlib import Path

FAULT = os.environ.get("FAKE_FAULT")


def read(source: Path) -> str:
    """A source with those that it includes, as far as they are named from this folder."""
    text = source.read_text()
    for line in text.splitlines():
        if line.startswith('#include "') and (included := Path(line.split('"')[1])).exists():
            text += included.read_text()
    return text


def compile_or_link(words: list[str]) -> int:
    if "-dumpfullversion" in words:
        print(os.environ.get("FAKE_GXX", "12.2.0"))
        return 0
    if "--version" in words:
        print("g++ (fake) 12.2.0")
        return 0
    made = Path(words[words.index("-o") + 1])
    sources = [Path(word) for word in words if word.endswith((".cpp", ".cc"))]
    text = "".join(map(read, sources))
    if made.name != "line":
        with Path(os.environ["FAKE_COMPILED"]).open("a") as record:
            record.write(f"{os.getpid()} {made.name}\n")
        made.write_text("half")
        time.sleep(float(os.environ.get("FAKE_SECONDS", "0")))
    for header in filter(None, os.environ.get("FAKE_MISSING", "").split(",")):
        if f"<{header}>" in text:
            print(f"fatal error: {header}: No such file or directory", file=sys.stderr)
            return 1
    if FAULT and FAULT in text:
        print(f"{sources[0]}:7:3: error: {FAULT!r} was not declared in this scope", file=sys.stderr)
        return 1
    made.write_text(text or " ".join(words))
    return 0


def protoc(words: list[str]) -> int:
    from google.protobuf import descriptor_pb2  # here, as g++ is started more often

    described = descriptor_pb2.FileDescriptorSet(file=[descriptor_pb2.FileDescriptorProto(name="caffe.proto")])
    for word in words:
        option, _, value = word.partition("=")
        if option == "--descriptor_set_out":
            Path(value).write_bytes(described.SerializeToString())
        if option == "--cpp_out":
            (Path(value) / "caffe.pb.cc").write_text("schema")
    return 0


if __name__ == "__main__":
    sys.exit({"g++": compile_or_link, "protoc": protoc}[Path(sys.argv[1]).name](sys.argv[2:]))
