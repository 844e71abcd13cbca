"""Target of a policy: exactly one of four kinds."""

from typing import Annotated, ClassVar

from predictive_scaling.resources.matching import Matching
from predictive_scaling.resources.part import Part
from predictive_scaling.resources.rules import Rule
from predictive_scaling.resources.vocabulary import GroupField, TargetKind

_WITHOUT_SCALE = ("CronJob", "DaemonSet", "Job", "Pod")
_APPS = {
    ("apps", "deployment"): "Deployment",
    ("apps", "replicaset"): "ReplicaSet",
    ("apps", "statefulset"): "StatefulSet",
}

ObjectName = Annotated[
    str,
    Matching(
        r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$",
        "must be the name of an object: lower-case letters, digits, '-' and '.'",
        max_length=253,
    ),
]
GroupVersion = Annotated[
    str,
    Matching(r"^([a-z0-9.-]+/)?v[0-9]+[a-z0-9]*$", "must be an API group and version such as apps/v1", max_length=253),
]
KindName = Annotated[str, Matching(r"^[A-Z][A-Za-z0-9]*$", "must be a kind such as Deployment", max_length=63)]
GroupName = Annotated[
    str, Matching(r"^[^\x00-\x1f\x7f:]+$", "must not contain colons or control characters", max_length=255)
]
Region = Annotated[
    str, Matching(r"^[a-z]{2,4}(-[a-z]+)+-[0-9]+$", "must be an AWS region such as eu-west-1", max_length=25)
]
RoleArn = Annotated[
    str,
    Matching(
        r"^arn:(aws|aws-cn|aws-us-gov|aws-eusc|aws-iso|aws-iso-b):iam::[0-9]{12}:role/[A-Za-z0-9+=,.@_/-]+$",
        "must be the ARN of an IAM role such as arn:aws:iam::123456789012:role/scaler",
        max_length=512,
    ),
]


class NamedTarget(Part):
    """An object in the policy's namespace."""

    name: ObjectName
    """Name of the object, in the policy's namespace."""


class WorkloadTarget(Part):
    """An object with a scale subresource and no HorizontalPodAutoscaler."""

    api_version: GroupVersion
    """API group and version of the object, such as apps/v1."""

    kind: KindName
    """Kind of the object, such as Deployment or StatefulSet. Must have a scale subresource."""

    name: ObjectName
    """Name of the object, in the policy's namespace."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel=f"!(self.kind in {list(_WITHOUT_SCALE)})",
            holds=lambda workload: workload.kind not in _WITHOUT_SCALE,
            message="must be a kind with a scale subresource, such as Deployment or StatefulSet",
            message_cel="self.apiVersion + ' ' + self.kind + ' has no scale subresource; "
            "use a kind that has one, such as Deployment or StatefulSet'",
            field="kind",
        ),
    )

    @property
    def text_kind(self) -> str:
        """The kind as texts name it: deployment, or as kubectl does, such as rollout.v1alpha1.argoproj.io."""
        kind, (group, _, version) = self.kind.lower(), self.api_version.rpartition("/")
        if (group, kind) in _APPS:
            return kind
        return f"{kind}.{version}.{group}" if group else f"{kind}.{version}"


class AutoScalingGroupTarget(Part):
    """An EC2 Auto Scaling group."""

    name: GroupName
    """Name of the group."""

    region: Region
    """AWS region of the group, such as eu-west-1."""

    role_arn: RoleArn | None = None
    """IAM role to assume, such as arn:aws:iam::123456789012:role/scaler. The installation must allow it for the
    policy's namespace. Defaults to the operator's own AWS credentials."""

    field: GroupField = GroupField.MIN_SIZE
    """Field to write: MinSize leaves scaling in to the group's own policies, DesiredCapacity does not."""


class TargetSpec(Part):
    """Target to scale. Exactly one of its fields must be set."""

    horizontal_pod_autoscaler: NamedTarget | None = None
    """HorizontalPodAutoscaler. Its minReplicas is raised and lowered; it scales above that on its own."""

    workload: WorkloadTarget | None = None
    """Workload without a HorizontalPodAutoscaler. The operator scales it through its scale subresource, reactively by
    demand.targetUtilization and ahead of demand."""

    scaled_object: NamedTarget | None = None
    """KEDA ScaledObject. Its minReplicaCount is raised and lowered; its triggers scale above that. A pause annotation
    of the ScaledObject pauses the policy."""

    auto_scaling_group: AutoScalingGroupTarget | None = None
    """An EC2 Auto Scaling group."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="[has(self.horizontalPodAutoscaler), has(self.workload), has(self.scaledObject), "
            "has(self.autoScalingGroup)].filter(is_set, is_set).size() == 1",
            holds=lambda target: len(target.model_dump(exclude_none=True)) == 1,
            message="exactly one of horizontalPodAutoscaler, workload, scaledObject, autoScalingGroup must be set",
            message_cel="'exactly one of horizontalPodAutoscaler, workload, scaledObject, autoScalingGroup must be "
            "set; ' + (has(self.horizontalPodAutoscaler) || has(self.workload) || has(self.scaledObject) "
            "|| has(self.autoScalingGroup) ? 'more than one' : 'none') + ' is set'",
        ),
    )

    @property
    def kind(self) -> TargetKind:
        """The kind of the target."""
        # Each decision asks for it several times, so that no table is built.
        if self.horizontal_pod_autoscaler:
            return TargetKind.HORIZONTAL_POD_AUTOSCALER
        if self.workload:
            return TargetKind.WORKLOAD
        return TargetKind.SCALED_OBJECT if self.scaled_object else TargetKind.AUTO_SCALING_GROUP

    @property
    def name(self) -> str:
        """The name of the target object."""
        targets = (self.horizontal_pod_autoscaler, self.workload, self.scaled_object, self.auto_scaling_group)
        return next(target.name for target in targets if target)

    def __str__(self) -> str:
        match self.kind:
            case TargetKind.HORIZONTAL_POD_AUTOSCALER:
                return f"hpa/{self.name}"
            case TargetKind.WORKLOAD if self.workload:
                return f"{self.workload.text_kind}/{self.name}"
            case TargetKind.SCALED_OBJECT:
                return f"scaledobject/{self.name}"
            case _:
                return f"asg/{self.name}"


def workload_named(kind: str, name: str) -> WorkloadTarget | None:
    """Return the workload of a kind as `WorkloadTarget.text_kind` writes it; None for another text.

    The text has no upper case: the kind of a custom resource is capitalized, and is to be compared without case.

    >>> workload_named("statefulset", "search").api_version, workload_named("asg", "web")
    ('apps/v1', None)
    """
    singular, _, version = kind.partition(".")
    version, _, group = version.partition(".")
    try:
        if ("apps", kind) in _APPS:
            return WorkloadTarget(api_version="apps/v1", kind=_APPS["apps", kind], name=name)
        api_version = f"{group}/{version}" if group else version
        return WorkloadTarget(api_version=api_version, kind=singular.capitalize(), name=name)
    except ValueError:  # not the text of a workload, or an edited status
        return None
