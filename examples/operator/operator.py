"""An operator in one file: a Site is a text, and some web servers that show it.

Of several of them one leads. What is outside of a site's namespace goes by a finalizer, the rest by its owner. A webhook,
whose certificate it makes itself, looks at sites before they are stored."""
import base64, json, os, socket, ssl, subprocess, sys, threading, time
from datetime import datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from kubernetes import client, config, watch
from kubernetes.client.exceptions import ApiException

HERE, ME = os.environ["NAMESPACE"], socket.gethostname()
KIND = dict(group="example.com", version="v1", plural="sites")
FINALIZER, REGISTER, LEASE = "example.com/register", "sites", timedelta(seconds=6)

config.load_incluster_config()
core, apps, leases = client.CoreV1Api(), client.AppsV1Api(), client.CoordinationV1Api()
hooks, sites = client.AdmissionregistrationV1Api(), client.CustomObjectsApi()
TEXTS = core.read_namespaced_config_map, core.create_namespaced_config_map, core.patch_namespaced_config_map
SERVICES = core.read_namespaced_service, core.create_namespaced_service, core.patch_namespaced_service
SERVERS = apps.read_namespaced_deployment, apps.create_namespaced_deployment, apps.patch_namespaced_deployment


def or_none(call, *arguments, **named):
    """What a call gives, and nothing where there is no such object."""
    try:
        return call(*arguments, **named)
    except ApiException as error:
        if error.status != 404:
            raise


def make_or_change(of, namespace, body):
    """Makes an object of a kind, or changes the one that is there, if it is the site's own."""
    read, make, change = of
    name, owner = body["metadata"]["name"], body["metadata"]["ownerReferences"][0]["uid"]
    found = or_none(read, name, namespace)
    if found is None:
        make(namespace, body)
        return
    controller = next((o for o in found.metadata.owner_references or [] if o.controller), None)
    if controller is not None and controller.uid == owner:
        # Of the object that was read: one that has taken its place meanwhile is refused.
        change(name, namespace, {**body, "metadata": {**body["metadata"], "uid": found.metadata.uid}})
    elif controller is not None and (controller.kind, controller.name) == ("Site", body["metadata"]["ownerReferences"][0]["name"]):
        raise RuntimeError(f"{name}: what was its predecessor's is still to go")  # It is seen again.
    else:
        print("left alone, since it is another's:", found.kind, namespace, name, file=sys.stderr, flush=True)


# --- The webhook: every replica serves it, with one certificate for all, which is kept in a Secret.

class Webhook(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["request"]
        answer = {"uid": request["uid"], "allowed": "lorem ipsum" not in request["object"]["spec"]["text"].lower()}
        if not answer["allowed"]:
            answer["status"] = {"code": 403, "message": "a site has something to say"}
        body = json.dumps({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": answer}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_):
        pass


def certificate():
    """The certificate and its key, as they are in the Secret."""
    while (secret := or_none(core.read_namespaced_secret, "certificate", HERE)) is None:
        name = f"sites.{HERE}.svc"
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "365",
                        "-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}", "-keyout", "/tmp/key", "-out", "/tmp/certificate"],
                       check=True, capture_output=True)
        files = {"tls.crt": open("/tmp/certificate").read(), "tls.key": open("/tmp/key").read()}
        body = client.V1Secret(metadata=client.V1ObjectMeta(name="certificate"), type="kubernetes.io/tls", string_data=files)
        try:
            core.create_namespaced_secret(HERE, body)
        except ApiException as error:
            if error.status != 409:  # Another replica was faster.
                raise
    return [base64.b64decode(secret.data[name]) for name in ("tls.crt", "tls.key")]


def serve(pair):
    for name, text in zip(("certificate", "key"), pair):
        with open(f"/tmp/{name}", "wb") as file:
            file.write(text)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain("/tmp/certificate", "/tmp/key")
    server = ThreadingHTTPServer(("", 8443), Webhook)
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    threading.Thread(target=server.serve_forever, daemon=True).start()


def register(bundle):
    """Says to the API server whom to trust: the rest of the configuration is in the manifest."""
    trust = {"op": "add", "path": "/webhooks/0/clientConfig/caBundle", "value": base64.b64encode(bundle).decode()}
    hooks.patch_validating_webhook_configuration("sites.example.com", [trust])


# --- Who leads.

def leads():
    """Whether this replica leads, for LEASE from now on."""
    now = datetime.now(timezone.utc)
    spec = client.V1LeaseSpec(holder_identity=ME, lease_duration_seconds=LEASE.seconds, renew_time=now)
    try:
        lease = or_none(leases.read_namespaced_lease, "operator", HERE)
        if lease is None:
            leases.create_namespaced_lease(HERE, client.V1Lease(metadata=client.V1ObjectMeta(name="operator"), spec=spec))
        elif lease.spec.holder_identity in (ME, None) or lease.spec.renew_time + LEASE < now:
            lease.spec = spec  # Of the revision that was read: of two who try, one is refused.
            leases.replace_namespaced_lease("operator", HERE, lease)
        else:
            return False
        return True
    except ApiException as error:
        if error.status == 409:
            return False
        raise


def keep_leading():
    try:
        while leads():
            time.sleep(LEASE.seconds / 3)
    finally:  # Another one leads, or may.
        print("leads no more", sys.exc_info()[1] or "", file=sys.stderr, flush=True)
        os._exit(1)


# --- What is to be of a site.

def reconcile(site):
    meta, spec = site["metadata"], site["spec"]
    name, namespace = meta["name"], meta["namespace"]
    key, finalizers = f"{namespace}.{name}", meta.get("finalizers", [])
    patch = lambda body: sites.patch_namespaced_custom_object(namespace=namespace, name=name, body=body, **KIND)
    if "deletionTimestamp" in meta:
        if FINALIZER in finalizers:
            core.patch_namespaced_config_map(REGISTER, HERE, {"data": {key: None}})
            patch({"metadata": {"resourceVersion": meta["resourceVersion"], "finalizers": [f for f in finalizers if f != FINALIZER]}})
            print("gone", key, flush=True)
        return
    if FINALIZER not in finalizers:
        patch({"metadata": {"resourceVersion": meta["resourceVersion"], "finalizers": [*finalizers, FINALIZER]}})
        return  # It is seen again, with it.
    core.patch_namespaced_config_map(REGISTER, HERE, {"data": {key: spec["text"]}})
    owner = {"apiVersion": site["apiVersion"], "kind": site["kind"], "name": name, "uid": meta["uid"], "controller": True}
    labels = {"site": name}
    about = {"name": name, "ownerReferences": [owner], "labels": labels}
    make_or_change(TEXTS, namespace, {"metadata": about, "data": {"index.html": spec["text"]}})
    make_or_change(SERVICES, namespace, {"metadata": about, "spec": {"selector": labels, "ports": [{"port": 80, "targetPort": 8000}]}})
    container = {"name": "web", "image": os.environ["IMAGE"], "imagePullPolicy": "IfNotPresent",
                 "command": ["python3", "-m", "http.server", "-d", "/site"],
                 "volumeMounts": [{"name": "site", "mountPath": "/site"}], "readinessProbe": {"tcpSocket": {"port": 8000}, "periodSeconds": 1}}
    pod = {"containers": [container], "volumes": [{"name": "site", "configMap": {"name": name}}], "terminationGracePeriodSeconds": 1}
    # With its text in the template, another one is shown by new pods at once, and not when volumes are looked at again.
    template = {"labels": labels, "annotations": {"example.com/text": spec["text"]}}
    make_or_change(SERVERS, namespace, {"metadata": about, "spec": {"replicas": spec["replicas"], "selector": {"matchLabels": labels},
                                                                    "template": {"metadata": template, "spec": pod}}})
    tell(apps.read_namespaced_deployment(name, namespace))


def tell(deployment):
    """Writes into a site's status what its deployment says."""
    owner = next((o for o in deployment.metadata.owner_references or [] if o.kind == "Site" and o.controller), None)
    if owner is None:
        return
    wanted, ready = deployment.spec.replicas, deployment.status.ready_replicas or 0
    is_ready = "True" if ready == wanted and deployment.status.observed_generation == deployment.metadata.generation else "False"
    namespace = deployment.metadata.namespace
    site = or_none(sites.get_namespaced_custom_object, namespace=namespace, name=owner.name, **KIND)
    if site is None or site["metadata"]["uid"] != owner.uid:
        return
    before = next(iter(site.get("status", {}).get("conditions", [])), {})
    since = before.get("lastTransitionTime") if before.get("status") == is_ready else datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    condition = {"type": "Ready", "status": is_ready, "reason": "Counted", "message": f"{ready} of {wanted} are ready",
                 "lastTransitionTime": since, "observedGeneration": site["metadata"]["generation"]}
    or_none(sites.patch_namespaced_custom_object_status, namespace=namespace, name=owner.name,
            body={"status": {"replicas": ready, "conditions": [condition]}}, **KIND)


def follow(listing, act, **named):
    """Does something for every object that there is, and whenever one changes."""
    while True:
        try:
            for event in watch.Watch().stream(listing, timeout_seconds=300, **named):
                try:
                    act(event["object"])
                except ApiException as error:
                    if error.status not in (404, 409):  # It is seen again as it is by now.
                        raise
        except Exception as error:  # Whatever it was: all is listed anew.
            print("again:", repr(error)[:300], file=sys.stderr, flush=True)
            time.sleep(1)


if __name__ == "__main__":
    pair = certificate()
    serve(pair)
    while not leads():
        time.sleep(1)
    threading.Thread(target=keep_leading, daemon=True).start()
    print("leads", ME, flush=True)
    register(pair[0])
    threading.Thread(target=follow, args=(apps.list_deployment_for_all_namespaces, tell), kwargs={"label_selector": "site"}, daemon=True).start()
    follow(sites.list_cluster_custom_object, reconcile, **KIND)
