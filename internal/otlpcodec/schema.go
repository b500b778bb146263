package otlpcodec

import "github.com/otel-lifeline/lifeline/internal/frame"

// kind is how the value of a field is encoded.
type kind uint8

const (
	unknown      kind = iota // skipped, whatever it is
	impossible               // a field number that cannot be
	varint                   // any integer or bool
	fixed64                  // 8 bytes
	fixed32                  // 4 bytes
	text                     // a length and as many bytes
	id8                      // text of 0 or 8 bytes
	id16                     // text of 0 or 16 bytes
	packedVarint             // repeated varint, in one text or one by one
	packed64                 // repeated fixed64, in one text or one by one
	nested                   // a message
)

// role is what a field means for counting and splitting.
type role uint8

const (
	plain role = iota
	item       // one item: a span, data point, log record, sample
	path       // a message on the way down to the items
	oneof      // a path of which only the last in its message counts: the data of a metric
)

// field describes one field of a message.
type field struct {
	kind kind
	role role
	msg  *message // only with kind nested
}

// message describes one message by its field numbers.
type message struct {
	fields [17]field
	// moved is what field 1000 once was: the scopes. A message that uses it must
	// not be counted without being modernized.
	moved *field
}

// movedField is the number of the field that message.moved describes.
const movedField = 1000

// requests holds the export request of every signal. It is read-only.
var requests = newRequests()

func newRequests() [frame.NumSignals]*message {
	any := fields()
	attr := nest(plain, any)
	attr.fields[1], attr.fields[2] = field{kind: text}, field{kind: nested, msg: any}
	attr.fields[3] = field{kind: varint}
	any.fields = fields(text, varint, varint, fixed64, nested, nested, text, varint).fields
	any.fields[5].msg = nest(plain, any)
	any.fields[6].msg = nest(plain, attr)

	common := commonMessages{
		attr:     attr,
		resource: with(fields(nested, varint, nested), attr, nil, fields(text, text, text, text)),
		scope:    with(fields(text, text, nested, varint), nil, nil, attr),
	}
	return [frame.NumSignals]*message{
		frame.Traces:   common.request(common.span(), true),
		frame.Metrics:  common.request(common.metric(), true),
		frame.Logs:     common.request(common.logRecord(), true),
		frame.Profiles: common.profiles(),
	}
}

// commonMessages are the messages that all signals share.
type commonMessages struct{ attr, resource, scope *message }

// request wraps the records of a signal in scope, resource and request.
func (c commonMessages) request(record *message, moved bool) *message {
	scopes := with(fields(nested, nested, text), c.scope, record)
	scopes.fields[2].role = item
	if hasPath(record) {
		scopes.fields[2].role = path
	}
	resources := with(fields(nested, nested, text), c.resource, scopes)
	resources.fields[2].role = path
	if moved {
		resources.moved = &field{kind: nested, msg: scopes}
	}
	return nest(path, resources)
}

func (c commonMessages) span() *message {
	event := with(fields(fixed64, text, nested, varint), nil, nil, c.attr)
	link := with(fields(id16, id8, text, nested, varint, fixed32), nil, nil, nil, c.attr)
	status := fields(unknown, text, varint)
	span := fields(id16, id8, text, id8, text, varint, fixed64, fixed64,
		nested, varint, nested, varint, nested, varint, nested, fixed32)
	return with(span, nil, nil, nil, nil, nil, nil, nil, nil, c.attr, nil, event, nil, link, nil, status)
}

func (c commonMessages) logRecord() *message {
	body := c.attr.fields[2].msg
	record := fields(fixed64, varint, text, unknown, nested, nested, varint, fixed32, id16, id8, fixed64, text)
	return with(record, nil, nil, nil, nil, body, c.attr)
}

func (c commonMessages) metric() *message {
	exemplar := with(fields(unknown, fixed64, fixed64, id8, id16, fixed64, nested), nil, nil, nil, nil, nil, nil, c.attr)
	number := with(fields(unknown, fixed64, fixed64, fixed64, nested, fixed64, nested, varint),
		nil, nil, nil, nil, exemplar, nil, c.attr)
	histogram := with(fields(unknown, fixed64, fixed64, fixed64, fixed64, packed64, packed64,
		nested, nested, varint, fixed64, fixed64), nil, nil, nil, nil, nil, nil, nil, exemplar, c.attr)
	buckets := fields(varint, packedVarint)
	exponential := with(fields(nested, fixed64, fixed64, fixed64, fixed64, varint, fixed64,
		nested, nested, varint, nested, fixed64, fixed64, fixed64),
		c.attr, nil, nil, nil, nil, nil, nil, buckets, buckets, nil, exemplar)
	summary := with(fields(unknown, fixed64, fixed64, fixed64, fixed64, nested, nested, varint),
		nil, nil, nil, nil, nil, fields(fixed64, fixed64), c.attr)

	m := fields(text, text, text, unknown, nested, unknown, nested, unknown, nested, nested, nested, nested)
	m.fields[12].msg = c.attr
	for num, point := range map[int]*message{5: number, 7: number, 9: histogram, 10: exponential, 11: summary} {
		data := with(fields(nested, varint, varint), point)
		data.fields[1].role = item
		if num == 5 || num == 11 { // gauge and summary have nothing but points
			data.fields[2].kind, data.fields[3].kind = unknown, unknown
		}
		if num == 9 || num == 10 { // histograms are always monotonic
			data.fields[3].kind = unknown
		}
		m.fields[num].role, m.fields[num].msg = oneof, data
	}
	return m
}

func (c commonMessages) profiles() *message {
	valueType := fields(varint, varint)
	sample := fields(varint, packedVarint, varint, packedVarint, packed64)
	profile := with(fields(nested, nested, fixed64, varint, nested, varint, id16, varint, text, text, packedVarint),
		valueType, sample, nil, nil, valueType)
	profile.fields[2].role = item

	value := c.attr.fields[2].msg
	dictionary := with(fields(nested, nested, nested, nested, text, nested, nested),
		fields(varint, varint, varint, varint, packedVarint),                                         // mapping
		with(fields(varint, varint, nested, packedVarint), nil, nil, fields(varint, varint, varint)), // location
		fields(varint, varint, varint, varint),                                                       // function
		fields(id16, id8),                                                                            // link
		nil, with(fields(varint, nested, varint), nil, value), fields(packedVarint))                  // attribute, stack
	r := c.request(profile, false)
	r.fields[2] = field{kind: nested, msg: dictionary}
	return r
}

// fields makes a message with fields of the given kinds, numbered from 1.
func fields(kinds ...kind) *message {
	m := &message{}
	m.fields[0].kind = impossible
	for i, k := range kinds {
		m.fields[i+1].kind = k
	}
	return m
}

// with names the messages of nested fields, numbered from 1, and returns m.
func with(m *message, children ...*message) *message {
	for i, child := range children {
		m.fields[i+1].msg = child
	}
	return m
}

// nest makes a message whose field 1 is nested.
func nest(r role, child *message) *message {
	m := fields()
	m.fields[1] = field{kind: nested, role: r, msg: child}
	return m
}

// hasPath reports whether m is not an item itself, but holds items.
func hasPath(m *message) bool {
	for _, f := range m.fields {
		if f.role != plain {
			return true
		}
	}
	return false
}
