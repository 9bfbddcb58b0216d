package wire

import (
	"regexp"
	"strings"
)

// DefaultRoot is where topics begin unless a deployment says otherwise.
const DefaultRoot = "kenshin/v1"

// UpTopic is where an edge publishes its batches.
func UpTopic(root, edge string) string { return root + "/" + edge + "/up" }

// AckTopic is where the collector answers, retained.
func AckTopic(root, edge string) string { return root + "/" + edge + "/ack" }

// StateTopic is where an edge says whether it is there, retained, with the
// opposite as its will.
func StateTopic(root, edge string) string { return root + "/" + edge + "/state" }

// ParseUp returns the edge whose up topic this is.
func ParseUp(root, topic string) (edge string, ok bool) {
	rest, ok := strings.CutPrefix(topic, root+"/")
	if !ok {
		return "", false
	}
	edge, ok = strings.CutSuffix(rest, "/up")
	return edge, ok && CheckEdgeID(edge) == nil
}

var rootPattern = regexp.MustCompile(`^[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)*$`)

// IsRoot tells whether topics can begin with a text: levels of letters, digits,
// '.', '_' and '-', at most 100 bytes. A wildcard or an empty level would make
// subscriptions that no topic fits, or that fit those of others.
func IsRoot(root string) bool { return len(root) <= 100 && rootPattern.MatchString(root) }
