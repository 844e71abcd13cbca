"""Commands that inspect the cluster of the demo."""

from predictive_scaling.external_metrics.values import Metric
from predictive_scaling.stack.demo.manifests import NAMESPACE, POLICY, PREDICTIVE


def inspection_commands() -> list[str]:
    """Kubectl commands, the most useful first."""
    scope = f"kubectl -n {NAMESPACE}"
    return [
        f"{scope} get sp,be,sd",
        f"{scope} describe sp {POLICY}",
        f"{scope} get deployments,hpa",
        f"{scope} get events --sort-by=.metadata.creationTimestamp",
        f"{scope} get hpa {PREDICTIVE} -o yaml --show-managed-fields",
        "kubectl explain scalingpolicy.spec.forecast",
        f"kubectl get --raw /apis/external.metrics.k8s.io/v1beta1/namespaces/{NAMESPACE}/{Metric.DEMAND}",
    ]
