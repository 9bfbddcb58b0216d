package wire

import "strings"

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
