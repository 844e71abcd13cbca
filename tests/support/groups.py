"""Auto Scaling groups on the AWS server of the tests, as a person with the AWS command line makes them."""

import asyncio
from typing import Any

import boto3

from predictive_scaling.resources.target import AutoScalingGroupTarget
from predictive_scaling.resources.vocabulary import GroupField
from predictive_scaling.stack.aws import REGION

WAIT_SECONDS = 60.0
"""How long tests wait for AWS: long enough for the retries of a busy machine, except in tests of that limit."""


class GroupAdministrator:
    """Another client of AWS. All methods wait for the response."""

    def __init__(self, endpoint_url: str, region: str = REGION) -> None:
        self._client: Any = boto3.Session(
            aws_access_key_id="administrator", aws_secret_access_key="administrator", region_name=region
        ).client("autoscaling", endpoint_url=endpoint_url)
        self._zone = f"{region}a"

    async def create(self, name: str, *, minimum: int = 2, maximum: int = 40, desired: int | None = None) -> None:
        """Create a group with its own launch configuration."""
        await self.call("create_launch_configuration", LaunchConfigurationName=name, ImageId="ami-12c6146b",
                        InstanceType="t3.micro")  # fmt: skip
        await self.call(
            "create_auto_scaling_group",
            AutoScalingGroupName=name,
            LaunchConfigurationName=name,
            MinSize=minimum,
            MaxSize=maximum,
            DesiredCapacity=minimum if desired is None else desired,
            AvailabilityZones=[self._zone],
        )

    async def update(self, name: str, **fields: int) -> None:
        """Change fields such as MinSize."""
        await self.call("update_auto_scaling_group", AutoScalingGroupName=name, **fields)

    async def describe(self, name: str) -> dict[str, Any]:
        """Return the description of a group."""
        response = await self.call("describe_auto_scaling_groups", AutoScalingGroupNames=[name])
        return response["AutoScalingGroups"][0]

    async def delete(self, name: str) -> None:
        """Delete a group and its launch configuration."""
        await self.call("delete_auto_scaling_group", AutoScalingGroupName=name, ForceDelete=True)
        await self.call("delete_launch_configuration", LaunchConfigurationName=name)

    async def call(self, operation: str, **parameters: Any) -> Any:
        """Call an operation of Auto Scaling."""
        return await asyncio.to_thread(getattr(self._client, operation), **parameters)


def a_group(
    name: str, *, field: GroupField = GroupField.MIN_SIZE, region: str = REGION, role_arn: str | None = None
) -> AutoScalingGroupTarget:
    """A target as a policy names it."""
    return AutoScalingGroupTarget(name=name, region=region, role_arn=role_arn, field=field)
