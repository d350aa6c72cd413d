"""What platforms are given: each file parses, has what its kind requires, and says the same as the others and as the documents."""

import json
import os
import re
import shutil
import subprocess
import sys
import unittest

try:
    import yaml
except ImportError:
    yaml = None

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.join(ROOT, "tests", "http"))

from service import BINARY, environment  # noqa: E402

# Of each kind: its apiVersion, and the fields that its schema requires (or that it means nothing without).
REQUIRED = {
    "Deployment": ("apps/v1", ["metadata.name", "spec.selector.matchLabels", "spec.template.metadata.labels", "spec.template.spec.containers"]),
    "Service": ("v1", ["metadata.name", "spec.selector", "spec.ports"]),
    "HorizontalPodAutoscaler": ("autoscaling/v2", ["metadata.name", "spec.scaleTargetRef.kind", "spec.scaleTargetRef.name", "spec.maxReplicas", "spec.metrics"]),
    "PodDisruptionBudget": ("policy/v1", ["metadata.name", "spec.selector.matchLabels"]),
    "NetworkPolicy": ("networking.k8s.io/v1", ["metadata.name", "spec.podSelector", "spec.policyTypes"]),
    "Knative Service": ("serving.knative.dev/v1", ["metadata.name", "spec.template.spec.containers"]),
}
# Of lists: each item has these.
ITEMS = {
    "spec.template.spec.containers": ["name", "image"],
    "spec.template.spec.volumes": ["name"],
    "spec.ports": ["port"],
    "spec.metrics": ["type"],
}
METRIC_KINDS = {"Pods": "pods", "Resource": "resource", "Object": "object", "External": "external", "ContainerResource": "containerResource"}
POD_SECURITY_BASELINE = {"AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "NET_BIND_SERVICE", "SETFCAP", "SETGID", "SETPCAP", "SETUID",
                         "SYS_CHROOT"}


def path_of(name):
    return os.path.join(ROOT, name)


def read(name):
    with open(path_of(name), encoding="utf-8") as file:
        return file.read()


def load(name):
    """The one document in it. Keys that stand twice are an error, which YAML's loader lets through."""

    class Strict(yaml.SafeLoader):
        pass

    def mapping(loader, node, deep=False):
        keys = [loader.construct_object(key, deep=True) for key, _ in node.value if key.tag != "tag:yaml.org,2002:merge"]
        assert len(keys) == len(set(keys)), f"{name}: a key stands twice among {keys}"
        return yaml.SafeLoader.construct_mapping(loader, node, deep)

    Strict.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, lambda loader, node: mapping(loader, node, deep=True))
    return yaml.load(read(name), Strict)


def at(document, path):
    for part in path.split("."):
        if not isinstance(document, dict) or part not in document:
            return None
        document = document[part]
    return document


def variables(container):
    return {item["name"]: item["value"] for item in container.get("env", [])}


def options():
    """All that `vivary serve --help` knows, as variables."""
    text = subprocess.run([BINARY, "serve", "--help"], stdin=subprocess.DEVNULL, capture_output=True, text=True, env=environment(), check=True).stdout
    return {"VIVARY_" + name.upper().replace("-", "_"): int(most) if most else None
            for name, most in re.findall(r"^  --([a-z-]+) .*?(?:default (\d+)\))?$", text, re.M)}


def mebibytes(quantity):
    number, unit = re.fullmatch(r"(\d+)(Mi|Gi)", quantity).groups()
    return int(number) * (1024 if unit == "Gi" else 1)


@unittest.skipUnless(yaml, "python3-yaml isn't installed")
class KubernetesTest(unittest.TestCase):
    def setUp(self):
        self.files = sorted(f"packaging/k8s/{name}" for name in os.listdir(path_of("packaging/k8s")) if not name.endswith("-patch.yaml"))
        self.documents = {name: load(name) for name in [*self.files, "packaging/knative/service.yaml"]}
        self.deployment = self.documents["packaging/k8s/deployment.yaml"]
        self.pod = at(self.deployment, "spec.template.spec")
        self.container = self.pod["containers"][0]
        self.knative = at(self.documents["packaging/knative/service.yaml"], "spec.template.spec")

    def test_each_kind_is_there_once(self):
        kinds = sorted(document["kind"] for name, document in self.documents.items() if name in self.files)
        self.assertEqual(kinds, ["Deployment", "HorizontalPodAutoscaler", "NetworkPolicy", "PodDisruptionBudget", "Service"])

    def test_each_has_what_its_kind_requires(self):
        for name, document in self.documents.items():
            kind = ("Knative " if "knative" in name else "") + document["kind"]
            version, fields = REQUIRED[kind]
            self.assertEqual(document["apiVersion"], version, name)
            self.assertLessEqual(set(document), {"apiVersion", "kind", "metadata", "spec"}, name)
            for field in fields:
                self.assertTrue(at(document, field), f"{name}: {field} is missing")
            for field, required in ITEMS.items():
                for item in at(document, field) or []:
                    for wanted in required:
                        if kind == "Knative Service" and wanted == "name":
                            continue  # it gives its own
                        self.assertIn(wanted, item, f"{name}: {field}")

    def test_labels_and_ports_fit_together(self):
        labels = at(self.deployment, "spec.template.metadata.labels")
        named = {port["name"]: port["containerPort"] for port in self.container["ports"]}
        service = self.documents["packaging/k8s/service.yaml"]
        policy = self.documents["packaging/k8s/networkpolicy.yaml"]
        selectors = [at(self.deployment, "spec.selector.matchLabels"), at(service, "spec.selector"), at(policy, "spec.podSelector.matchLabels"),
                     at(self.documents["packaging/k8s/pdb.yaml"], "spec.selector.matchLabels")]
        for selector in selectors:
            self.assertEqual(selector, labels)
        self.assertIn(service["spec"]["ports"][0]["targetPort"], named)
        self.assertEqual(policy["spec"]["ingress"][0]["ports"][0]["port"], named["http"])
        self.assertEqual(variables(self.container)["PORT"], str(named["http"]))
        target = at(self.documents["packaging/k8s/hpa.yaml"], "spec.scaleTargetRef")
        self.assertEqual((target["kind"], target["name"]), ("Deployment", self.deployment["metadata"]["name"]))

    def test_probes_ask_the_right_paths(self):
        for container in (self.container, self.knative["containers"][0]):
            self.assertEqual(at(container, "readinessProbe.httpGet.path"), "/readyz")
            self.assertEqual(at(container, "livenessProbe.httpGet.path"), "/healthz")

    def test_the_grace_period_is_above_the_deadline(self):
        wait = int(at(self.container, "lifecycle.preStop.exec.command")[1])
        deadline = int(variables(self.container)["VIVARY_DEADLINE_MS"]) / 1000
        self.assertGreater(self.pod["terminationGracePeriodSeconds"], wait + deadline + 2)

    def test_memory_is_enough_for_all_slots_at_once(self):
        for container in (self.container, self.knative["containers"][0]):
            given = variables(container)
            needed = int(given["VIVARY_SLOTS"]) * int(given["VIVARY_MEMORY_MB"])
            for volume in self.pod["volumes"] if container is self.container else []:
                needed += mebibytes(volume["emptyDir"]["sizeLimit"])
            self.assertGreaterEqual(mebibytes(at(container, "resources.limits.memory")), needed + 256)

    def test_what_is_set_are_options(self):
        known = options()
        for container in (self.container, self.knative["containers"][0]):
            for name in variables(container):
                self.assertIn(name, {*known, "PORT"})

    def test_no_variable_comes_from_the_service_of_that_name(self):
        refused = subprocess.run([BINARY, "serve", "--listen", "127.0.0.1:0"], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                                 env=environment(VIVARY_SERVICE_HOST="192.0.2.1"), timeout=60, check=False)
        self.assertEqual(refused.returncode, 2, "it would do no harm, and the manifests needn't heed it")
        self.assertIn("VIVARY_SERVICE_HOST", refused.stderr)
        self.assertIs(self.pod["enableServiceLinks"], False)
        self.assertIs(self.knative["enableServiceLinks"], False)

    def test_the_pod_is_within_baseline_and_with_the_patch_within_restricted(self):
        security = self.container["securityContext"]
        self.assertIs(security["allowPrivilegeEscalation"], False)
        self.assertIs(security["readOnlyRootFilesystem"], True)
        self.assertEqual(security["capabilities"]["drop"], ["ALL"])
        self.assertLessEqual(set(security["capabilities"]["add"]), POD_SECURITY_BASELINE)
        self.assertEqual(at(self.pod, "securityContext.seccompProfile.type"), "RuntimeDefault")
        self.assertFalse({"hostNetwork", "hostPID", "hostIPC"} & set(self.pod))
        for volume in self.pod["volumes"]:
            self.assertEqual(set(volume), {"name", "emptyDir"})
        patch = at(load("packaging/k8s/nonroot-patch.yaml"), "spec.template.spec")
        self.assertEqual(patch["containers"][0]["name"], self.container["name"])
        self.assertIs(patch["securityContext"]["runAsNonRoot"], True)
        self.assertGreater(patch["securityContext"]["runAsUser"], 0)
        patched = patch["containers"][0]["securityContext"]
        self.assertEqual((patched["allowPrivilegeEscalation"], patched["capabilities"]["drop"], patched["capabilities"]["add"]), (False, ["ALL"], None))

    def test_it_scales_on_a_metric_that_is_there(self):
        metrics = at(self.documents["packaging/k8s/hpa.yaml"], "spec.metrics")
        for metric in metrics:
            self.assertIn(METRIC_KINDS[metric["type"]], metric)
        name = metrics[0]["pods"]["metric"]["name"]
        self.assertEqual(name, "vivary_queue_depth")
        self.assertIn(f"`{name}`", read("docs/operations.md"))

    def test_knative_sends_as_many_as_there_are_slots(self):
        given = variables(self.knative["containers"][0])
        self.assertEqual(self.knative["containerConcurrency"], int(given["VIVARY_SLOTS"]))
        self.assertGreater(self.knative["timeoutSeconds"] * 1000, 2 * int(given["VIVARY_DEADLINE_MS"]))
        self.assertNotIn("PORT", given, "the platform sets it, and refuses ours")


@unittest.skipUnless(yaml, "python3-yaml isn't installed")
class ComposeTest(unittest.TestCase):
    def setUp(self):
        self.services = load("docker-compose.yml")["services"]

    def test_there_are_two_services_of_one_image(self):
        self.assertEqual(set(self.services), {"contained", "full"})
        for service in self.services.values():
            self.assertEqual((service["image"], service["build"]), ("vivary", "."))
            self.assertEqual(service["healthcheck"]["test"], ["CMD", "vivary", "health"])
            self.assertIn("./app:/app:ro", service["volumes"])
            self.assertNotIn("privileged", service)
            self.assertLessEqual(set(service["environment"]), {*options(), "PORT"})

    def test_ports_are_those_that_are_listened_on(self):
        self.assertIn("EXPOSE 8080", read("Dockerfile"))
        for service, port in ((self.services["contained"], "${PORT:-8080}"), (self.services["full"], "${PORT_FULL:-8081}")):
            self.assertEqual(service["ports"], [f"{port}:{service['environment']['PORT']}"])

    def test_contained_asks_for_nothing(self):
        service = self.services["contained"]
        self.assertEqual(service["environment"]["VIVARY_LEVEL"], "contained")
        self.assertFalse({"cap_add", "security_opt", "profiles"} & set(service))

    def test_full_asks_for_one_capability_and_our_profile(self):
        service = self.services["full"]
        self.assertEqual((service["environment"]["VIVARY_LEVEL"], service["profiles"], service["cap_add"]), ("full", ["full"], ["SYS_ADMIN"]))
        profile = next(option for option in service["security_opt"] if option.startswith("seccomp="))[len("seccomp="):]
        self.assertTrue(os.path.exists(path_of(profile)))

    def test_they_have_time_to_drain(self):
        for service in self.services.values():
            self.assertGreater(int(service["stop_grace_period"].rstrip("s")), options()["VIVARY_DEADLINE_MS"] / 1000 + 2)


class SeccompTest(unittest.TestCase):
    # What no level needs, though Docker's profile gives it to who has CAP_SYS_ADMIN, or to nobody.
    NEVER = {"add_key", "bpf", "fanotify_init", "finit_module", "init_module", "io_uring_setup", "kexec_load", "open_by_handle_at", "perf_event_open", "quotactl",
             "reboot", "request_key", "swapon", "syslog", "userfaultfd"}
    FULL = {"mount", "pivot_root", "sethostname", "setns", "umount2", "unshare"}

    def setUp(self):
        self.profile = json.loads(read("packaging/docker/seccomp-full.json"))
        self.entries = self.profile["syscalls"]

    def test_what_is_not_listed_is_refused(self):
        self.assertEqual((self.profile["defaultAction"], self.profile["defaultErrnoRet"]), ("SCMP_ACT_ERRNO", 1))
        self.assertEqual({item["architecture"] for item in self.profile["archMap"]}, {"SCMP_ARCH_X86_64", "SCMP_ARCH_AARCH64"})

    def test_what_full_needs_is_allowed_and_the_rest_is_not(self):
        whole = {name for entry in self.entries if entry["action"] == "SCMP_ACT_ALLOW" and not entry.get("args") for name in entry["names"]}
        self.assertLessEqual(self.FULL | {"clone", "landlock_restrict_self", "seccomp", "execve"}, whole)
        allowed = {name for entry in self.entries if entry["action"] == "SCMP_ACT_ALLOW" for name in entry["names"]}
        self.assertFalse(self.NEVER & allowed)

    def test_of_keyrings_only_an_empty_session_can_be_had(self):
        found = [entry for entry in self.entries if "keyctl" in entry["names"]]
        self.assertEqual([entry["args"] for entry in found], [[{"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}]])

    def test_clone3_is_answered_so_that_libc_falls_back(self):
        found = [entry for entry in self.entries if "clone3" in entry["names"]]
        self.assertEqual([(entry["action"], entry["errnoRet"]) for entry in found], [("SCMP_ACT_ERRNO", 38)])

    def test_the_generator_makes_the_same_again(self):
        made = subprocess.run([sys.executable, path_of("packaging/docker/make-seccomp-full.py"), path_of("packaging/docker/seccomp-full.json")],
                              capture_output=True, text=True, check=True)
        again = json.loads(made.stdout)

        def calls(profile):
            return {(name, entry["action"], json.dumps(entry.get("args"))) for entry in profile["syscalls"] for name in entry["names"]}

        self.assertEqual(calls(again), calls(self.profile))


class ScalingTest(unittest.TestCase):
    def test_metrics_of_the_document_are_there(self):
        named = set(re.findall(r"\bvivary_[a-z_]+", read("docs/scaling.md")))
        known = set(re.findall(r"`(vivary_[a-z_]+)`", read("docs/operations.md")))
        self.assertGreater(len(named), 5)
        self.assertLessEqual({re.sub(r"_bucket$", "", name) for name in named}, known)


class BalancerTest(unittest.TestCase):
    @unittest.skipUnless(shutil.which("haproxy") or os.path.exists("/usr/sbin/haproxy"), "haproxy isn't installed")
    def test_haproxy_takes_its_configuration(self):
        checked = subprocess.run([shutil.which("haproxy") or "/usr/sbin/haproxy", "-c", "-f", path_of("packaging/haproxy/haproxy.cfg")],
                                 stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        self.assertEqual(checked.returncode, 0, checked.stdout)
        self.assertNotIn("WARNING", checked.stdout)

    def test_only_what_has_not_begun_is_sent_again(self):
        text = read("packaging/haproxy/haproxy.cfg")
        self.assertEqual(re.findall(r"^\s*retry-on (.*)$", text, re.M), ["conn-failure 503"])
        self.assertIn("balance leastconn", text)
        self.assertIn("uri /readyz", text)

    def test_it_waits_longer_than_a_run_may_take(self):
        text = read("packaging/haproxy/haproxy.cfg")
        known = options()
        longest = known["VIVARY_REQUEST_MS"] + 2 * known["VIVARY_DEADLINE_MS"] + known["VIVARY_EXIT_GRACE_MS"]
        self.assertGreater(int(re.search(r"timeout server (\d+)s", text)[1]) * 1000, longest)


if __name__ == "__main__":
    unittest.main()
