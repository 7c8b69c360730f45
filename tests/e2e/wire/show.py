"""Prints an encoded Streamlit message, read from standard input, as protobuf text.

The argument says what it is: ``element``, ``block``, or a field of ``ForwardMsg``.
"""

import sys

from google.protobuf import message_factory, text_format
from streamlit.proto import Block_pb2, Element_pb2, ForwardMsg_pb2

field = sys.argv[1]
if field == "element":
    kind = Element_pb2.Element
elif field == "block":
    kind = Block_pb2.Block
else:
    described = ForwardMsg_pb2.ForwardMsg.DESCRIPTOR.fields_by_name[field]
    kind = message_factory.GetMessageClass(described.message_type)
print(text_format.MessageToString(kind.FromString(sys.stdin.buffer.read())))
