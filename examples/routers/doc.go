// Package routers contains examples only. They mount a callback.Handler in
// net/http, chi, gin and echo, verify its URL with the simulator of package
// wxtest and push an event to it.
//
// Middleware before the handler must not change requests and responses:
//
//   - Do not read the body, not even to log or bind it: the handler would find it
//     empty. The signature covers the bytes, so a body that is parsed and written
//     again fails too.
//   - Do not change the query, which has timestamp, nonce, signature and echostr. Do
//     not redirect to a canonical URL (a trailing slash, another host).
//   - Do not require a login or a CSRF token, and do not limit the rate by IP address:
//     a push has no cookie, and all pushes come from a few addresses of WeChat.
//     [net/http.CrossOriginProtection] is harmless, because it affects browsers only.
//   - Do not set a timeout below 15 s, which is how long a reply may take (see
//     callback.Config).
//   - Do not wrap or replace responses, including those with an error status.
//
// So mount the handler outside of the groups that have such middleware.
package routers
