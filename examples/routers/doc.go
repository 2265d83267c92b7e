// Package routers has no code of its own. Its examples, one file for each router,
// mount a callback.Handler in net/http, chi, gin and echo, and let a WeChat of
// package wxtest try the URL out and push an event to it.
//
// With all of them, the middleware before the handler must leave a request as it came:
//
//   - no reading of the body, not even to log it or to bind it: the handler finds it
//     empty. WeChat's signature covers the bytes, so parsing and writing them anew
//     breaks it too.
//   - no change of the query: timestamp, nonce, signature and echostr are in it. A
//     redirect to a canonical URL (a slash at the end, another host) is no answer.
//   - no login, no CSRF token, no limit by address: a push brings no cookie, and all
//     pushes come from WeChat's few addresses. [net/http.CrossOriginProtection] does no
//     harm: it is about browsers.
//   - no time-out below 15 s, which is how long a reply may take (see callback.New).
//   - no line, wrapping or page around what the handler answers: it must arrive as it
//     is, an error's status too.
//
// So mount the handler beside the groups that have such middleware, not below them.
package routers
