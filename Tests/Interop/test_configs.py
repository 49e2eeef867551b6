"""What `meshproxy validate` says of good and of bad files."""
import copy
import glob
import json
import os
import subprocess

import harness as h


def validate(path, directory):
    result = subprocess.run(
        [h.MESHPROXY, "validate", "-c", path], cwd=directory, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, timeout=30, text=True)
    return result.returncode, result.stdout


GOOD = h.bootstrap([h.listener(10000, [h.all_to("app")])], [h.cluster("app", [10001])])


def route_of(config):
    chain = config["static_resources"]["listeners"][0]["filter_chains"][0]
    return chain["filters"][0]["typed_config"]["route_config"]["virtual_hosts"][0]["routes"][0]


def cluster_of(config):
    return config["static_resources"]["clusters"][0]


def endpoint_of(config):
    return cluster_of(config)["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]


# (what is wrong, how to spoil the good file, words that the complaint must hold: the place, what
# was expected or known, what came)
BAD = [
    ("a field that is not there", lambda c: cluster_of(c).update(conect_timeout="1s"),
     ["static_resources.clusters[0]", "conect_timeout"]),
    ("a duration without a unit", lambda c: cluster_of(c).update(connect_timeout="soon"),
     ["static_resources.clusters[0].connect_timeout", "soon"]),
    ("an unknown word for an enum", lambda c: cluster_of(c).update(lb_policy="ROUND_ROBBIN"),
     ["static_resources.clusters[0].lb_policy", "ROUND_ROBBIN"]),
    ("a port that is none", lambda c: endpoint_of(c)["address"]["socket_address"].update(
        port_value=70000), ["static_resources.clusters[0].load_assignment", "port_value", "70000"]),
    ("text where a number belongs", lambda c: endpoint_of(c)["address"]["socket_address"].update(
        port_value="http"), ["static_resources.clusters[0].load_assignment", "port_value", "http"]),
    ("a route to nowhere", lambda c: route_of(c)["route"].update(cluster="ap"), ["ap"]),
    ("a list where an object belongs", lambda c: c.update(admin=[]), ["admin"]),
    ("a file that is not there", lambda c: cluster_of(c).update(transport_socket={
        "name": "tls", "typed_config": {
            "@type": h.TYPE + "transport_sockets.tls.v3.UpstreamTlsContext",
            "common_tls_context": {"validation_context": {
                "trusted_ca": {"filename": "/nowhere/ca.pem"}}}}}), ["/nowhere/ca.pem"]),
    ("an unknown type", lambda c: cluster_of(c).update(transport_socket={
        "name": "x", "typed_config": {"@type": "type.googleapis.com/no.such.Type"}}),
     ["static_resources.clusters[0].transport_socket", "no.such.Type"]),
]


class Files(h.Case):
    def setUp(self):
        super().setUp()
        # The examples name their certificates relative to where the process runs.
        os.symlink(h.CERTS, os.path.join(self.directory, "certs"))
        os.mkdir(os.path.join(self.directory, "log"))

    def test_examples(self):
        """Each file in configs/ is accepted"""
        pattern = os.path.join(h.REPO, "configs", "**", "*.yaml")
        files = [f for f in sorted(glob.glob(pattern, recursive=True))
                 if "-control-plane" not in f]
        self.assertGreaterEqual(len(files), 8)
        for path in files:
            with self.subTest(os.path.relpath(path, h.REPO)):
                status, text = validate(path, self.directory)
                self.assertEqual(status, 0, text)

    def test_good(self):
        """A good file is accepted, in YAML and in JSON"""
        for name in ("good.json", "good.yaml"):
            with open(os.path.join(self.directory, name), "w") as file:
                json.dump(GOOD, file)
            status, text = validate(name, self.directory)
            self.assertEqual(status, 0, text)

    def test_bad(self):
        """A bad file is refused with the path to the field, and what came; the exit status is 1"""
        for what, spoil, words in BAD:
            with self.subTest(what):
                config = copy.deepcopy(GOOD)
                spoil(config)
                with open(os.path.join(self.directory, "bad.json"), "w") as file:
                    json.dump(config, file)
                status, text = validate("bad.json", self.directory)
                self.assertEqual(status, 1, text)
                for word in words:
                    self.assertIn(word, text)

    def test_says_what_was_expected(self):
        """A complaint names what was expected and what came"""
        config = copy.deepcopy(GOOD)
        cluster_of(config)["lb_policy"] = "ROUND_ROBBIN"
        with open(os.path.join(self.directory, "bad.json"), "w") as file:
            json.dump(config, file)
        _, text = validate("bad.json", self.directory)
        self.assertIn("ROUND_ROBIN", text)
        self.assertIn("ROUND_ROBBIN", text)

    def test_no_yaml(self):
        """What is no YAML, and what is not there, is refused with the file's name"""
        with open(os.path.join(self.directory, "torn.yaml"), "w") as file:
            file.write("static_resources: [\n  {")
        for name in ("torn.yaml", "absent.yaml"):
            with self.subTest(name):
                status, text = validate(name, self.directory)
                self.assertEqual(status, 1, text)
                self.assertIn(name, text)
