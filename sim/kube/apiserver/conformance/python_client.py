#!/usr/bin/env python3
"""Python's kubernetes client against a server: typed core objects, custom objects, patch, watch, errors. Usage: python_client.py URL"""
import random
import sys
import threading

from kubernetes import client, watch
from kubernetes.client.rest import ApiException

configuration = client.Configuration()
configuration.host = sys.argv[1]
api = client.ApiClient(configuration)
core, custom = client.CoreV1Api(api), client.CustomObjectsApi(api)
extensions = client.ApiextensionsV1Api(api)
namespace = "python-%06d" % random.randrange(10**6)
group = "python%06d.example" % random.randrange(10**6)

print("server", client.VersionApi(api).get_code().git_version)
core.create_namespace(client.V1Namespace(metadata=client.V1ObjectMeta(name=namespace)))

made = core.create_namespaced_config_map(namespace, client.V1ConfigMap(
    metadata=client.V1ObjectMeta(name="c", labels={"a": "b"}), data={"k": "v"}))
assert made.metadata.uid and made.metadata.creation_timestamp
made.data["k"] = "w"
replaced = core.replace_namespaced_config_map("c", namespace, made)
assert int(replaced.metadata.resource_version) > int(made.metadata.resource_version)
made.data["k"] = "x"
try:
    core.replace_namespaced_config_map("c", namespace, made)
    raise AssertionError("a stale replace was accepted")
except ApiException as error:
    assert error.status == 409 and error.reason == "Conflict", error
patched = core.patch_namespaced_config_map("c", namespace, {"data": {"more": "1"}})
assert patched.data == {"k": "w", "more": "1"}, patched.data
assert len(core.list_namespaced_config_map(namespace, label_selector="a=b").items) == 1
assert not core.list_namespaced_config_map(namespace, label_selector="a!=b").items

schema = {"type": "object", "properties": {"spec": {"type": "object", "properties": {"size": {"type": "integer"}}},
                                           "status": {"type": "object", "properties": {"phase": {"type": "string"}}}}}
extensions.create_custom_resource_definition({
    "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "things." + group},
    "spec": {"group": group, "scope": "Namespaced", "names": {"plural": "things", "singular": "thing", "kind": "Thing"},
             "versions": [{"name": "v1", "served": True, "storage": True, "subresources": {"status": {}},
                           "schema": {"openAPIV3Schema": schema}}]}})
for _ in range(100):
    conditions = extensions.read_custom_resource_definition("things." + group).status.conditions or []
    if any(c.type == "Established" and c.status == "True" for c in conditions):
        break
else:
    raise AssertionError("the definition was not established")

seen = []
def follow():
    for event in watch.Watch().stream(custom.list_namespaced_custom_object, group, "v1", namespace, "things", timeout_seconds=8):
        seen.append((event["type"], event["object"]["metadata"]["name"]))
follower = threading.Thread(target=follow)
follower.start()
for name in ("t1", "t2"):
    custom.create_namespaced_custom_object(group, "v1", namespace, "things", {
        "apiVersion": group + "/v1", "kind": "Thing", "metadata": {"name": name}, "spec": {"size": 1, "unknown": True}})
thing = custom.get_namespaced_custom_object(group, "v1", namespace, "things", "t1")
assert thing["spec"] == {"size": 1}, thing["spec"]
custom.patch_namespaced_custom_object_status(group, "v1", namespace, "things", "t1", {"status": {"phase": "ok"}})
assert custom.get_namespaced_custom_object(group, "v1", namespace, "things", "t1")["status"]["phase"] == "ok"
custom.delete_namespaced_custom_object(group, "v1", namespace, "things", "t1")
try:
    custom.delete_namespaced_custom_object(group, "v1", namespace, "things", "t1")
    raise AssertionError("deleted twice")
except ApiException as error:
    assert error.status == 404 and error.reason == "Not Found", error
follower.join()
assert [name for kind, name in seen if kind == "ADDED"] == ["t1", "t2"], seen
assert ("DELETED", "t1") in seen, seen

extensions.delete_custom_resource_definition("things." + group)
core.delete_namespace(namespace)
print("Python's client: all passed")
