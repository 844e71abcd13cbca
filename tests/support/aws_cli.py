"""`aws SERVICE OPERATION --option value …`, as far as the runbook uses it: the AWS CLI is no dependency.

botocore checks the operation and its parameters, moto answers, and the response is printed as JSON.
"""

import json
import sys
from typing import Any

import boto3
import botocore.session


def main(service: str, operation: str, *options: str) -> None:
    name = operation.replace("-", "_")
    client: Any = boto3.client(service)  # pyright: ignore[reportCallIssue, reportArgumentType, reportUnknownMemberType]
    model: Any = botocore.session.get_session().get_service_model(service)
    shapes = model.operation_model(client.meta.method_to_api_mapping[name]).input_shape.members
    parameters: dict[str, Any] = {}
    current = ""
    for option in options:
        if option.startswith("--"):
            current = next(member for member in shapes if member.lower() == option.replace("-", "").lower())
            parameters[current] = [] if shapes[current].type_name == "list" else None
        elif isinstance(parameters[current], list):
            parameters[current].append(option)
        else:
            parameters[current] = int(option) if shapes[current].type_name == "integer" else option
    response = getattr(client, name)(**parameters)
    response.pop("ResponseMetadata", None)
    print(json.dumps(response, indent=4, default=str))


if __name__ == "__main__":
    main(*sys.argv[1:])
