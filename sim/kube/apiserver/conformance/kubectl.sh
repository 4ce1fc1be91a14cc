#!/usr/bin/env bash
# kubectl against a server: get, describe, apply, edit by patch, delete, -w. Usage: kubectl.sh URL
set -euo pipefail
url=$1
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
export HOME=$folder # no cache or configuration of the user's
k() { kubectl --server "$url" --request-timeout 20s "$@"; }
namespace=kubectl-$RANDOM
fail() { echo "FAILED: $*" >&2; exit 1; }
has() { grep -q -- "$1" <<<"$2" || fail "expected '$1' in: $2"; }

k version >/dev/null || fail version
# Newer versions of kubectl send what they create themselves as protobuf, which this server does not read: manifests are JSON in all of them.
k create namespace "$namespace" --dry-run=client -o yaml | k apply -f -
cat >"$folder/crd.yaml" <<'Y'
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata:
  name: gadgets.kubectl.example
spec:
  group: kubectl.example
  scope: Namespaced
  names: { plural: gadgets, singular: gadget, kind: Gadget, shortNames: [gd] }
  versions:
  - name: v1
    served: true
    storage: true
    subresources: { status: {} }
    additionalPrinterColumns:
    - { name: Size, type: integer, jsonPath: .spec.size }
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec: { type: object, properties: { size: { type: integer }, color: { type: string } } }
          status: { type: object, properties: { phase: { type: string } } }
Y
k apply -f "$folder/crd.yaml"
k wait --for condition=Established crd/gadgets.kubectl.example --timeout 20s
cat >"$folder/gadget.yaml" <<Y
apiVersion: kubectl.example/v1
kind: Gadget
metadata: { name: g1, namespace: $namespace, labels: { a: b } }
spec: { size: 3, color: red }
Y
k apply -f "$folder/gadget.yaml"
has "SIZE" "$(k get gadgets -n "$namespace")"
has "g1 *3" "$(k get gd -n "$namespace")"
has "size: 3" "$(k get gd g1 -n "$namespace" -o yaml)"
has "g1" "$(k get gadgets -A -l a=b -o name)"
k get gadgets -n "$namespace" -w -o name >"$folder/watched" &
watcher=$!
sleep 1
sed -i 's/size: 3/size: 5/; s/, color: red//' "$folder/gadget.yaml"
k apply -f "$folder/gadget.yaml"
has "size: 5" "$(k get gd g1 -n "$namespace" -o yaml)"
[ "$(k get gd g1 -n "$namespace" -o 'jsonpath={.spec.color}')" = "" ] || fail "apply did not remove a field"
k patch gadget g1 -n "$namespace" --type merge -p '{"spec":{"color":"blue"}}'
k patch gadget g1 -n "$namespace" --type json -p '[{"op":"replace","path":"/spec/size","value":7}]'
has "blue" "$(k describe gadget g1 -n "$namespace")"
EDITOR="sed -i s/blue/green/" k edit gadget g1 -n "$namespace"
has "green" "$(k get gd g1 -n "$namespace" -o yaml)"
k create configmap c1 -n "$namespace" --from-literal key=value --dry-run=client -o yaml | k apply -f -
has "c1" "$(k get configmaps -n "$namespace")"
has "key" "$(k describe configmap c1 -n "$namespace")"
k label configmap c1 -n "$namespace" x=y
k annotate configmap c1 -n "$namespace" x=y
k delete gadget g1 -n "$namespace" --timeout 20s
sleep 1
kill $watcher 2>/dev/null || true
[ "$(grep -c g1 "$folder/watched")" -ge 4 ] || fail "the watch saw too little: $(cat "$folder/watched")"
k get gadget g1 -n "$namespace" 2>/dev/null && fail "still there"
has "kubectl.example" "$(k api-resources)"
k explain configmap >/dev/null 2>&1 || echo "explain is not there"
k delete crd gadgets.kubectl.example --timeout 20s
k delete namespace "$namespace" --timeout 60s
echo "kubectl: all passed"
