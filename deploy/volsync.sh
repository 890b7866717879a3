#!/bin/sh
# Operates VolSync's restic backups: snapshot, restore, unlock, list, verify, status. Taskfile.yaml calls it.
#
#   deploy/volsync.sh restore APP=odoo SNAPSHOT=2
#
# Needs kubectl. Parameters are arguments or variables: APP, CLUSTER (a file kubeconfig-CLUSTER in this directory,
# else a context of that name), NAMESPACE (else it is found), SNAPSHOT (a number counts back, anything else is an
# id), PREVIOUS, RESTORE_AS_OF, DESTINATION_PVC (else the source's own), DELETE=true, FORCE=true, MAX_AGE,
# WAIT=false, TIMEOUT and PAUSE (between two looks) in seconds, IMAGE of volmover. No secret is ever printed.
set -eu

fail() {
  echo "volsync: $*" >&2
  exit 1
}

operation=${1:-}
[ $# = 0 ] || shift
for given; do
  case $given in
    APP=* | CLUSTER=* | NAMESPACE=* | SNAPSHOT=* | PREVIOUS=* | RESTORE_AS_OF=* | DESTINATION_PVC=* | DELETE=* | FORCE=* | \
      MAX_AGE=* | WAIT=* | TIMEOUT=* | PAUSE=* | IMAGE=*)
      # Only the names above come here, and the value is not looked at.
      eval "${given%%=*}=\${given#*=}"
      ;;
    *) fail "there is no parameter ${given%%=*}" ;;
  esac
done

APP=${APP:-}
NAMESPACE=${NAMESPACE:-}
WAIT=${WAIT:-true}
TIMEOUT=${TIMEOUT:-1800}
PAUSE=${PAUSE:-5}
IMAGE=${IMAGE:-registry.example.org/volmover:0.1.0}
# A trigger that stood there before would be no trigger.
stamp=$(date -u +%Y%m%d%H%M%S)-$$

# name, value: nothing but a name of Kubernetes
named() {
  case $2 in *[!a-z0-9.-]*) fail "$1=$2 is not a name" ;; esac
}
counted() {
  case $2 in '' | *[!0-9]*) fail "$1=$2 is not a whole number" ;; esac
}
named APP "$APP"
named NAMESPACE "$NAMESPACE"
named DESTINATION_PVC "${DESTINATION_PVC:-}"
counted TIMEOUT "$TIMEOUT"
counted PAUSE "$PAUSE"
# What is to be done on the way out is done after an interrupt as well.
trap 'exit 130' INT
trap 'exit 143' TERM

if [ -n "${CLUSTER:-}" ]; then
  if [ -f "kubeconfig-$CLUSTER" ]; then
    export KUBECONFIG="$PWD/kubeconfig-$CLUSTER"
    k() { kubectl "$@"; }
  else
    k() { kubectl --context "$CLUSTER" "$@"; }
  fi
else
  k() { kubectl "$@"; }
fi

# kind → lines "namespace name" of all, or of NAMESPACE
all() {
  lines='{range .items[*]}{.metadata.namespace}{" "}{.metadata.name}{"\n"}{end}'
  if [ -n "$NAMESPACE" ]; then
    k get "$1" -n "$NAMESPACE" -o "jsonpath=$lines"
  else
    k get "$1" -A -o "jsonpath=$lines"
  fi
}

# Sets namespace and name to the application's ReplicationSource: APP-backup, APP-src or APP.
find_source() {
  [ -n "$APP" ] || fail "APP is missing: the name of the application"
  known=$(all replicationsource)
  name=
  for candidate in "$APP-backup" "$APP-src" "$APP"; do
    found=$(printf '%s\n' "$known" | awk -v name="$candidate" '$2 == name { print $1 }')
    [ -n "$found" ] || continue
    name=$candidate
    break
  done
  if [ -z "$name" ]; then
    {
      echo "volsync: no ReplicationSource $APP-backup, $APP-src or $APP${NAMESPACE:+ in namespace $NAMESPACE}; available are"
      printf '%s\n' "$known" | awk 'NF { print "  " $1 "/" $2; some = 1 } END { if (!some) print "  none" }'
    } >&2
    exit 1
  fi
  if [ "$(printf '%s\n' "$found" | wc -l)" -gt 1 ]; then
    fail "$name is in several namespaces: $(printf '%s' "$found" | tr '\n' ' '): set NAMESPACE"
  fi
  namespace=$found
}

# A field of the source; empty when it is not set.
source_field() { k get replicationsource "$name" -n "$namespace" -o "jsonpath={$1}"; }

field() { k get "$1" "$2" -n "$namespace" -o "jsonpath={$3}"; }

# kind, name: what the mover said.
logs() { field "$1" "$2" .status.latestMoverStatus.logs; echo; }

# Whether TIMEOUT has passed since start.
is_over() { [ $(($(date +%s) - start)) -ge "$TIMEOUT" ]; }

# kind, name: its result and what it said, in one look.
said() { k get "$1" "$2" -n "$namespace" -o 'jsonpath={.status.latestMoverStatus.result}{" "}{.status.latestMoverStatus.logs}'; }

# kind, name, field, value, what the mover said before: waits until the field has the value. A failure that is new,
# or the time that is over, ends with what the mover said.
wait_for() {
  start=$(date +%s)
  while [ "$(field "$1" "$2" "$3")" != "$4" ]; do
    now=$(said "$1" "$2")
    case $now in
      "$5") ;;
      Failed*)
        printf '%s\n' "${now#* }" >&2
        fail "$1 $namespace/$2 failed; VolSync tries again"
        ;;
    esac
    if is_over; then
      logs "$1" "$2" >&2
      fail "$1 $namespace/$2 did not finish in $TIMEOUT s"
    fi
    sleep "$PAUSE"
  done
}

# A manual trigger holds the schedule up as long as it stands.
resume_schedule() {
  if [ -n "$(source_field .spec.trigger.schedule)" ]; then
    k patch replicationsource "$name" -n "$namespace" --type merge -p '{"spec":{"trigger":{"manual":null}}}'
  fi
}

snapshot() {
  find_source
  trigger=snapshot-$stamp
  before=$(said replicationsource "$name")
  [ "$WAIT" != true ] || trap resume_schedule EXIT
  k patch replicationsource "$name" -n "$namespace" --type merge -p "{\"spec\":{\"trigger\":{\"manual\":\"$trigger\"}}}"
  if [ "$WAIT" != true ]; then
    echo "$namespace/$name backs up now; its schedule rests until spec.trigger.manual is removed"
    return
  fi
  wait_for replicationsource "$name" .status.lastManualSync "$trigger" "$before"
  logs replicationsource "$name"
  echo "$namespace/$name is backed up"
}

unlock() {
  find_source
  trigger=unlock-$stamp
  before=$(said replicationsource "$name")
  trap resume_schedule EXIT
  # VolSync removes locks at the next sync, so one is asked for.
  k patch replicationsource "$name" -n "$namespace" --type merge \
    -p "{\"spec\":{\"restic\":{\"unlock\":\"$trigger\"},\"trigger\":{\"manual\":\"$trigger\"}}}"
  wait_for replicationsource "$name" .status.restic.lastUnlocked "$trigger" "$before"
  echo "$namespace/$name is unlocked"
}

# A field of an object, when it has a value: name, JSON
part() { [ -z "$2" ] || printf ',"%s":%s' "$1" "$2"; }

# The same of the source's own text.
copied_text() {
  text=$(source_field ".spec.restic.$1")
  part "$1" "${text:+\"$text\"}"
}

# Sets previous and id from SNAPSHOT and PREVIOUS.
choose() {
  previous=${PREVIOUS:-0} id=
  case ${SNAPSHOT:-} in
    '') ;;
    # Eight digits and more are an id, whatever they look like.
    *[!0-9]* | ????????*) id=$SNAPSHOT ;;
    *) previous=$SNAPSHOT ;;
  esac
  case $previous in '' | *[!0-9]*) fail "PREVIOUS=$previous is not a number: 0 is the latest" ;; esac
  case $id in *[!0-9a-fA-F]*) fail "SNAPSHOT=$id is neither a number nor an id" ;; esac
  case ${RESTORE_AS_OF:-} in *[!0-9TZ:.+-]*) fail "RESTORE_AS_OF is a time such as 2026-01-14T12:00:00Z" ;; esac
}

# Names of pods that use a volume, without VolSync's own.
users_of() {
  k get pods -n "$namespace" -o 'jsonpath={range .items[*]}{.metadata.name}{" "}{.status.phase}{" "}{.spec.volumes[*].persistentVolumeClaim.claimName}{"\n"}{end}' |
    awk -v pvc="$1" '$1 !~ /^volsync-/ && ($2 == "Running" || $2 == "Pending") { for (i = 3; i <= NF; i++) if ($i == pvc) print $1 }'
}

# The config directory of the source, with MOVER_SNAPSHOT added: a Secret of its own for this restore.
config_with_id() {
  old=$(source_field '.spec.restic.moverVolumes[?(@.mountPath=="mover-config")].volumeSource.secret.secretName')
  keys=
  [ -z "$old" ] || keys=$(k get secret "$old" -n "$namespace" -o 'jsonpath={.data}')
  keys=${keys#\{}
  keys=${keys%\}}
  encoded=$(printf '%s' "$id" | base64 | tr -d '\n')
  printf '{"apiVersion":"v1","kind":"Secret","metadata":{"name":"%s","namespace":"%s"},"data":{"MOVER_SNAPSHOT":"%s"%s}}' \
    "$restore" "$namespace" "$encoded" "${keys:+,$keys}" | k apply -f -
  volumes=$(source_field .spec.restic.moverVolumes)
  mount="{\"mountPath\":\"mover-config\",\"volumeSource\":{\"secret\":{\"secretName\":\"$restore\"}}}"
  if [ -n "$old" ]; then
    volumes=$(printf '%s' "$volumes" | sed "s/\"secretName\":\"$old\"/\"secretName\":\"$restore\"/")
  elif [ -n "$volumes" ]; then
    volumes="[$mount,${volumes#\[}"
  else
    volumes="[$mount]"
  fi
}

clean_up() {
  [ -z "$id" ] || k delete secret "$restore" -n "$namespace" --ignore-not-found
  k delete replicationdestination "$restore" -n "$namespace" --ignore-not-found
}

restore() {
  find_source
  choose
  restore=$APP-restore-$stamp
  pvc=${DESTINATION_PVC:-$(source_field .spec.sourcePVC)}
  users=$(users_of "$pvc" | tr '\n' ' ')
  if [ -n "$users" ] && [ "${FORCE:-}" != true ]; then
    fail "$namespace/$pvc is in use by $users: scale it down first, or set FORCE=true"
  fi
  [ "$WAIT" != true ] || trap clean_up EXIT
  volumes=$(source_field .spec.restic.moverVolumes)
  [ -z "$id" ] || config_with_id
  {
    printf '{"apiVersion":"volsync.backube/v1alpha1","kind":"ReplicationDestination","metadata":{"name":"%s","namespace":"%s"}' \
      "$restore" "$namespace"
    printf ',"spec":{"trigger":{"manual":"%s"},"restic":{"repository":"%s","destinationPVC":"%s","copyMethod":"Direct"' \
      "$restore" "$(source_field .spec.restic.repository)" "$pvc"
    [ "$previous" = 0 ] || printf ',"previous":%s' "$previous"
    [ -z "${RESTORE_AS_OF:-}" ] || printf ',"restoreAsOf":"%s"' "$RESTORE_AS_OF"
    [ "${DELETE:-}" != true ] || printf ',"enableFileDeletion":true'
    part moverVolumes "$volumes"
    for same in moverSecurityContext moverResources moverPodLabels moverAffinity customCA cacheAccessModes; do
      part "$same" "$(source_field ".spec.restic.$same")"
    done
    for same in moverServiceAccount cacheCapacity cacheStorageClassName; do
      copied_text "$same"
    done
    printf '}}}\n'
  } | k apply -f -
  if [ "$WAIT" != true ]; then
    echo "$namespace/$restore restores now; afterwards delete the ReplicationDestination${id:+ and the Secret} $restore"
    return
  fi
  wait_for replicationdestination "$restore" .status.lastManualSync "$restore" ' '
  told=$(logs replicationdestination "$restore")
  printf '%s\n' "$told"
  case $told in
    *'No eligible snapshots'* | *'No data will be restored'*) fail "nothing was restored into $namespace/$pvc" ;;
  esac
  echo "$namespace/$pvc is restored"
}

# Volumes and mounts of a pod that sees what the mover sees: sets pod_volumes and pod_mounts.
pod_parts() {
  pod_volumes='{"name":"tmp","emptyDir":{"medium":"Memory"}}'
  pod_mounts='{"name":"tmp","mountPath":"/tmp"}'
  parts=$(k get replicationsource "$name" -n "$namespace" -o 'jsonpath={range .spec.restic.moverVolumes[*]}{.mountPath}{"|"}{.volumeSource.secret.secretName}{"|"}{.volumeSource.persistentVolumeClaim.claimName}{"|"}{.volumeSource.nfs.server}{"|"}{.volumeSource.nfs.path}{"\n"}{end}')
  number=0
  while IFS='|' read -r mount secret claim server path; do
    [ -n "$mount" ] || continue
    if [ -n "$secret" ]; then
      volume="\"secret\":{\"secretName\":\"$secret\"}"
    elif [ -n "$claim" ]; then
      volume="\"persistentVolumeClaim\":{\"claimName\":\"$claim\"}"
    else
      volume="\"nfs\":{\"server\":\"$server\",\"path\":\"$path\"}"
    fi
    pod_volumes="$pod_volumes,{\"name\":\"u$number\",$volume}"
    pod_mounts="$pod_mounts,{\"name\":\"u$number\",\"mountPath\":\"/mnt/$mount\"}"
    number=$((number + 1))
  done <<EOF
$parts
EOF
  authority=$(source_field .spec.restic.customCA.configMapName)
  kind='"configMap":{"name"'
  if [ -z "$authority" ]; then
    authority=$(source_field .spec.restic.customCA.secretName)
    kind='"secret":{"secretName"'
  fi
  pod_env=
  if [ -n "$authority" ]; then
    pod_volumes="$pod_volumes,{\"name\":\"ca\",$kind:\"$authority\"}}"
    pod_mounts="$pod_mounts,{\"name\":\"ca\",\"mountPath\":\"/customCA\"}"
    pod_env="{\"name\":\"CUSTOM_CA\",\"value\":\"/customCA/$(source_field .spec.restic.customCA.key)\"}"
  fi
}

# operation, JSON of more variables: runs volmover as a pod beside the mover's volumes, and prints what it said.
run_pod() {
  pod=volmover-$1-$APP-$stamp
  pod_parts
  variables=$pod_env
  [ -z "$2" ] || variables="${variables:+$variables,}$2"
  context=$(source_field .spec.restic.moverSecurityContext)
  [ -n "$context" ] || context='{"runAsNonRoot":true,"seccompProfile":{"type":"RuntimeDefault"}}'
  trap 'k delete pod "$pod" -n "$namespace" --ignore-not-found --wait=false >/dev/null' EXIT
  printf '{"apiVersion":"v1","kind":"Pod","metadata":{"name":"%s","namespace":"%s"},"spec":{"restartPolicy":"Never","automountServiceAccountToken":false,"securityContext":%s,"containers":[{"name":"volmover","image":"%s","command":["/usr/local/bin/volmover"],"args":["%s"],"envFrom":[{"secretRef":{"name":"%s"}}],"env":[%s],"volumeMounts":[%s],"securityContext":{"allowPrivilegeEscalation":false,"readOnlyRootFilesystem":true,"capabilities":{"drop":["ALL"]}}}],"volumes":[%s]}}' \
    "$pod" "$namespace" "$context" "$IMAGE" "$1" "$(source_field .spec.restic.repository)" "$variables" "$pod_mounts" "$pod_volumes" |
    k apply -f - >/dev/null
  start=$(date +%s)
  while :; do
    phase=$(field pod "$pod" .status.phase)
    case $phase in Succeeded | Failed) break ;; esac
    ! is_over || fail "pod $namespace/$pod is ${phase:-not there} after $TIMEOUT s"
    sleep "$PAUSE"
  done
  k logs "$pod" -n "$namespace"
  [ "$phase" = Succeeded ] || fail "$1 of $namespace/$name failed"
}

list() {
  find_source
  run_pod snapshots ''
}

verify() {
  find_source
  choose
  [ "$previous" = 0 ] || id="latest~$previous"
  case ${MAX_AGE:-} in *[!0-9dhms]*) fail "MAX_AGE=$MAX_AGE is not a duration such as 26h" ;; esac
  run_pod verify "{\"name\":\"MOVER_VERIFY_MIN_FILES\",\"value\":\"1\"},{\"name\":\"MOVER_VERIFY_MAX_AGE\",\"value\":\"${MAX_AGE:-}\"},{\"name\":\"MOVER_SNAPSHOT\",\"value\":\"$id\"},{\"name\":\"RESTORE_AS_OF\",\"value\":\"${RESTORE_AS_OF:-}\"}"
}

status() {
  broken=
  for kind in replicationsource replicationdestination; do
    # What the mover said has lines of its own: only those that begin with a sign are objects.
    row='{range .items[*]}{"@|"}{.metadata.namespace}{"/"}{.metadata.name}{"|"}{.status.lastSyncTime}{"|"}{.status.nextSyncTime}{"|"}{.status.lastSyncDuration}{"|"}{.status.latestMoverStatus.result}{"|"}{.status.conditions[?(@.type=="Synchronizing")].reason}{"\n"}{.status.latestMoverStatus.logs}{"\n"}{end}'
    if [ -n "$NAMESPACE" ]; then
      rows=$(k get "$kind" -n "$NAMESPACE" -o "jsonpath=$row")
    else
      rows=$(k get "$kind" -A -o "jsonpath=$row")
    fi
    echo "$kind"
    printf '%s\n' "$rows" | awk -F'|' '
      function told() { if (line != "") print line snapshot; line = snapshot = "" }
      $1 == "@" {
        told()
        bad = ($6 == "Failed" || $7 == "Error") ? "!!" : "  "
        line = sprintf("%s %-40s last %-20s next %-20s took %-12s %s %s", bad, $2, $3 ? $3 : "never", $4 ? $4 : "-", $5 ? $5 : "-", $6 ? $6 : "-", $7)
      }
      /^ *snapshot [0-9a-f]+ saved/ { split($0, words, " "); snapshot = " snapshot " words[2] }
      END { told() }'
    for one in $(printf '%s\n' "$rows" | awk -F'|' '$1 == "@" && ($6 == "Failed" || $7 == "Error") { print $2 }'); do
      broken=yes
      namespace=${one%%/*}
      echo "!! $one says:"
      logs "$kind" "${one#*/}" | sed 's/^/   /'
    done
  done
  [ -z "$broken" ] || echo "!! marks what failed"
}

case $operation in
  snapshot | restore | unlock | list | verify | status) "$operation" ;;
  *) fail "say one of: snapshot restore unlock list verify status" ;;
esac
