"""What one broker goes by already. An admin client would ask whichever broker it likes."""

import io
import socket
import struct
from typing import Any, Final

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._acl import AclOperation, AclPermissionType
from confluent_kafka.admin._resource import ResourceType
from kio.schema.describe_acls.v3.request import DescribeAclsRequest
from kio.schema.describe_acls.v3.response import DescribeAclsResponse
from kio.serial import entity_reader, entity_writer
from kio.static.primitive import i8, i32

from .topics import quiet

_TIMEOUT: Final = 5.0


def lets_in(address: str, user: str, password: str) -> bool:
    """Whether a broker lets a user in by SCRAM; `address` is of its SASL_PLAINTEXT listener.

    The client has not heard of any other broker yet, so an answer is from this one.
    """
    credentials = {
        "security.protocol": "SASL_PLAINTEXT",
        "sasl.mechanism": "SCRAM-SHA-512",
        "sasl.username": user,
        "sasl.password": password,
    }
    try:
        AdminClient({**quiet([address]), **credentials}).list_topics(timeout=2)
    except KafkaException:
        return False
    return True


def denied_by(address: str, user: str, topic: str) -> set[int]:
    """Return the operations (AclOperation) on a topic that a broker denies to a user."""
    request = DescribeAclsRequest(
        resource_type_filter=i8(ResourceType.TOPIC.value),
        resource_name_filter=topic,
        principal_filter=f"User:{user}",
        host_filter=None,
        operation=i8(AclOperation.ANY.value),
        permission_type=i8(AclPermissionType.DENY.value),
    )
    response = _ask(address, request)
    return {acl.operation for resource in response.resources for acl in resource.acls}


def _ask(address: str, request: DescribeAclsRequest) -> DescribeAclsResponse:
    host, _, port = address.rpartition(":")
    with socket.create_connection((host, int(port)), _TIMEOUT) as connection:
        connection.sendall(_frame(request))
        with connection.makefile("rb") as stream:
            (size,) = struct.unpack(">i", stream.read(4))
            body = stream.read(size)
    _, offset = entity_reader(DescribeAclsResponse.__header_schema__)(body, 0)
    response, _ = entity_reader(DescribeAclsResponse)(body, offset)
    return response


def _frame(request: DescribeAclsRequest) -> bytes:
    buffer = io.BytesIO()
    schema: Any = request.__header_schema__
    header = schema(
        request_api_key=request.__api_key__,
        request_api_version=request.__version__,
        correlation_id=i32(0),
        client_id="tests",
    )
    entity_writer(schema)(buffer, header)
    entity_writer(DescribeAclsRequest)(buffer, request)
    return struct.pack(">i", buffer.tell()) + buffer.getvalue()
