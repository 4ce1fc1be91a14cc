//! The table of built-in kinds.

use serde_json::{Map, Value};

use super::{Builtin, Surroundings, configuration, nodes, pods, services, storage, workloads};
use crate::error::{ApiError, Cause};
use crate::names::NameRule;
use crate::resource::Generation;

fn no_defaults(_: &mut Map<String, Value>) {}

fn no_preparation(_: &mut Map<String, Value>, _: &dyn Surroundings) -> Result<(), ApiError> {
    Ok(())
}

fn no_update_preparation(_: &mut Map<String, Value>, _: &Map<String, Value>, _: &dyn Surroundings) {}

fn always_valid(_: &Map<String, Value>, _: Option<&Map<String, Value>>, _: &mut Vec<Cause>) {}

const fn kind(group: &'static str, version: &'static str, plural: &'static str, kind: &'static str) -> Builtin {
    Builtin {
        group,
        version,
        plural,
        kind,
        short_names: &[],
        categories: &[],
        namespaced: true,
        subresources: &[],
        generation: Generation::None,
        returns_deleted: false,
        unconditional_update: true,
        create_on_update: false,
        status_keeps_labels: false,
        name_rule: NameRule::Subdomain,
        fields: &[],
        finalizer: None,
        defaults: no_defaults,
        prepare: no_preparation,
        prepare_update: no_update_preparation,
        validate: always_valid,
    }
}

impl Builtin {
    const fn cluster(mut self) -> Builtin {
        self.namespaced = false;
        self
    }
    const fn short(mut self, names: &'static [&'static str]) -> Builtin {
        self.short_names = names;
        self
    }
    const fn all(mut self) -> Builtin {
        self.categories = &["all"];
        self
    }
    const fn sub(mut self, subresources: &'static [&'static str]) -> Builtin {
        self.subresources = subresources;
        self
    }
    const fn counts(mut self, generation: Generation) -> Builtin {
        self.generation = generation;
        self
    }
    const fn returning(mut self) -> Builtin {
        self.returns_deleted = true;
        self
    }
    const fn conditional(mut self) -> Builtin {
        self.unconditional_update = false;
        self
    }
    const fn upsert(mut self) -> Builtin {
        self.create_on_update = true;
        self
    }
    const fn named(mut self, rule: NameRule) -> Builtin {
        self.name_rule = rule;
        self
    }
    const fn selectable(mut self, fields: &'static [&'static str]) -> Builtin {
        self.fields = fields;
        self
    }
    const fn finalized(mut self, finalizer: &'static str) -> Builtin {
        self.finalizer = Some(finalizer);
        self
    }
    const fn defaulted(mut self, defaults: super::Defaults) -> Builtin {
        self.defaults = defaults;
        self
    }
    const fn prepared(mut self, prepare: super::Prepare) -> Builtin {
        self.prepare = prepare;
        self
    }
    const fn update_prepared(mut self, prepare: super::PrepareUpdate) -> Builtin {
        self.prepare_update = prepare;
        self
    }
    const fn validated(mut self, validate: super::Validate) -> Builtin {
        self.validate = validate;
        self
    }
    const fn workload(mut self) -> Builtin {
        self.generation = Generation::Content;
        self.status_keeps_labels = true;
        self.categories = &["all"];
        self.validate = workloads::validate;
        self
    }
}

const CORE: &str = "";
const APPS: &str = "apps";
const STORAGE: &str = "storage.k8s.io";
const RBAC: &str = "rbac.authorization.k8s.io";
const NETWORKING: &str = "networking.k8s.io";
const ADMISSION: &str = "admissionregistration.k8s.io";
const STATUS: &[&str] = &["status"];
const STATUS_AND_SCALE: &[&str] = &["status", "scale"];

/// All of them.
pub(crate) static KINDS: &[Builtin] = &[
    kind(CORE, "v1", "configmaps", "ConfigMap").short(&["cm"]).validated(configuration::validate_config_map),
    kind(CORE, "v1", "endpoints", "Endpoints").short(&["ep"]).upsert().defaulted(services::endpoints_defaults),
    kind(CORE, "v1", "events", "Event").short(&["ev"]).upsert().selectable(configuration::EVENT_FIELDS),
    kind(CORE, "v1", "limitranges", "LimitRange").short(&["limits"]),
    kind(CORE, "v1", "namespaces", "Namespace")
        .cluster()
        .short(&["ns"])
        .sub(&["status", "finalize"])
        .named(NameRule::Label)
        .selectable(&["status.phase"])
        .prepared(nodes::prepare_namespace)
        .update_prepared(nodes::prepare_namespace_update),
    kind(CORE, "v1", "nodes", "Node")
        .cluster()
        .short(&["no"])
        .sub(STATUS)
        .selectable(&["spec.unschedulable"])
        .defaulted(nodes::node_defaults)
        .prepared(nodes::prepare_node),
    kind(CORE, "v1", "persistentvolumeclaims", "PersistentVolumeClaim")
        .short(&["pvc"])
        .sub(STATUS)
        .returning()
        .finalized("kubernetes.io/pvc-protection")
        .defaulted(storage::claim_defaults)
        .prepared(storage::prepare_claim)
        .validated(storage::validate_claim),
    kind(CORE, "v1", "persistentvolumes", "PersistentVolume")
        .cluster()
        .short(&["pv"])
        .sub(STATUS)
        .returning()
        .finalized("kubernetes.io/pv-protection")
        .defaulted(storage::volume_defaults)
        .prepared(storage::prepare_volume)
        .update_prepared(storage::prepare_volume_update)
        .validated(storage::validate_volume),
    kind(CORE, "v1", "pods", "Pod")
        .short(&["po"])
        .all()
        .sub(&["status", "binding", "eviction", "ephemeralcontainers", "resize"])
        .returning()
        .counts(Generation::Content)
        .selectable(pods::FIELDS)
        .defaulted(pods::defaults)
        .prepared(pods::prepare)
        .update_prepared(pods::prepare_update)
        .validated(pods::validate),
    kind(CORE, "v1", "podtemplates", "PodTemplate").returning().upsert().defaulted(workloads::pod_template_defaults),
    kind(CORE, "v1", "replicationcontrollers", "ReplicationController")
        .short(&["rc"])
        .sub(STATUS_AND_SCALE)
        .workload()
        .selectable(&["status.replicas"])
        .defaulted(workloads::replication_controller_defaults),
    kind(CORE, "v1", "resourcequotas", "ResourceQuota").short(&["quota"]).sub(STATUS).returning(),
    kind(CORE, "v1", "secrets", "Secret")
        .selectable(&["type"])
        .defaulted(configuration::secret_defaults)
        .validated(configuration::validate_secret),
    kind(CORE, "v1", "serviceaccounts", "ServiceAccount").short(&["sa"]).returning(),
    kind(CORE, "v1", "services", "Service")
        .short(&["svc"])
        .all()
        .sub(STATUS)
        .returning()
        .upsert()
        .named(NameRule::Label1035)
        .selectable(&["spec.clusterIP", "spec.type"])
        .defaulted(services::defaults)
        .prepared(services::prepare)
        .update_prepared(services::prepare_update)
        .validated(services::validate),
    kind(APPS, "v1", "controllerrevisions", "ControllerRevision"),
    kind(APPS, "v1", "daemonsets", "DaemonSet")
        .short(&["ds"])
        .sub(STATUS)
        .workload()
        .defaulted(workloads::daemon_set_defaults),
    kind(APPS, "v1", "deployments", "Deployment")
        .short(&["deploy"])
        .sub(STATUS_AND_SCALE)
        .workload()
        .defaulted(workloads::deployment_defaults),
    kind(APPS, "v1", "replicasets", "ReplicaSet")
        .short(&["rs"])
        .sub(STATUS_AND_SCALE)
        .workload()
        .selectable(&["status.replicas"])
        .defaulted(workloads::replica_set_defaults),
    kind(APPS, "v1", "statefulsets", "StatefulSet")
        .short(&["sts"])
        .sub(STATUS_AND_SCALE)
        .workload()
        .defaulted(workloads::stateful_set_defaults),
    kind("batch", "v1", "cronjobs", "CronJob")
        .short(&["cj"])
        .sub(STATUS)
        .workload()
        .defaulted(workloads::cron_job_defaults),
    kind("batch", "v1", "jobs", "Job")
        .sub(STATUS)
        .workload()
        .selectable(&["status.successful"])
        .defaulted(workloads::job_defaults)
        .prepared(workloads::prepare_job)
        .validated(workloads::validate_job),
    kind("autoscaling", "v2", "horizontalpodautoscalers", "HorizontalPodAutoscaler")
        .short(&["hpa"])
        .all()
        .sub(STATUS)
        .defaulted(workloads::autoscaler_defaults),
    kind("policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget")
        .short(&["pdb"])
        .sub(STATUS)
        .conditional()
        .counts(Generation::Content)
        .prepared(workloads::prepare_budget),
    kind("coordination.k8s.io", "v1", "leases", "Lease")
        .conditional()
        .upsert()
        .validated(configuration::validate_lease),
    kind("discovery.k8s.io", "v1", "endpointslices", "EndpointSlice")
        .counts(Generation::Everything)
        .defaulted(services::endpoint_slice_defaults),
    kind(STORAGE, "v1", "storageclasses", "StorageClass")
        .cluster()
        .short(&["sc"])
        .returning()
        .defaulted(storage::class_defaults),
    kind(STORAGE, "v1", "volumeattachments", "VolumeAttachment")
        .cluster()
        .sub(STATUS)
        .returning()
        .prepared(storage::prepare_attachment),
    kind(STORAGE, "v1", "csidrivers", "CSIDriver")
        .cluster()
        .conditional()
        .returning()
        .defaulted(storage::driver_defaults),
    kind(STORAGE, "v1", "csinodes", "CSINode").cluster().conditional().returning(),
    kind(STORAGE, "v1", "csistoragecapacities", "CSIStorageCapacity").conditional().returning(),
    kind("scheduling.k8s.io", "v1", "priorityclasses", "PriorityClass")
        .cluster()
        .short(&["pc"])
        .counts(Generation::Constant)
        .defaulted(configuration::priority_class_defaults),
    kind(RBAC, "v1", "clusterroles", "ClusterRole").cluster().upsert().named(NameRule::PathSegment),
    kind(RBAC, "v1", "clusterrolebindings", "ClusterRoleBinding").cluster().upsert().named(NameRule::PathSegment),
    kind(RBAC, "v1", "roles", "Role").upsert().named(NameRule::PathSegment),
    kind(RBAC, "v1", "rolebindings", "RoleBinding").upsert().named(NameRule::PathSegment),
    kind(NETWORKING, "v1", "networkpolicies", "NetworkPolicy")
        .short(&["netpol"])
        .counts(Generation::Content)
        .defaulted(services::network_policy_defaults),
    kind(NETWORKING, "v1", "ingresses", "Ingress").short(&["ing"]).sub(STATUS).counts(Generation::Content),
    kind(NETWORKING, "v1", "ingressclasses", "IngressClass").cluster().counts(Generation::Content),
    kind("node.k8s.io", "v1", "runtimeclasses", "RuntimeClass").cluster().conditional(),
    kind(ADMISSION, "v1", "mutatingwebhookconfigurations", "MutatingWebhookConfiguration")
        .cluster()
        .conditional()
        .counts(Generation::Content)
        .defaulted(configuration::webhook_defaults)
        .validated(configuration::validate_webhooks),
    kind(ADMISSION, "v1", "validatingwebhookconfigurations", "ValidatingWebhookConfiguration")
        .cluster()
        .conditional()
        .counts(Generation::Content)
        .defaulted(configuration::webhook_defaults)
        .validated(configuration::validate_webhooks),
    kind("apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition")
        .cluster()
        .short(&["crd", "crds"])
        .sub(STATUS)
        .conditional()
        .returning()
        .counts(Generation::Content)
        .defaulted(crate::crd::defaults)
        .prepared(crate::crd::prepare)
        .update_prepared(crate::crd::prepare_update)
        .validated(crate::crd::validate),
    kind("apiregistration.k8s.io", "v1", "apiservices", "APIService").cluster().sub(STATUS).conditional(),
];
