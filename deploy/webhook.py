# Receives Porchlight's alerts, and prints those that are genuine. Start it with the key that "porchlight doctor --webhook-key" prints:
#   KEY=… python3 webhook.py 8000
import hashlib, hmac, http.server, os, sys, time

class Receiver(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        seconds, given = [part.split("=")[1] for part in self.headers["Porchlight-Signature"].split(",")]
        right = hmac.new(os.environ["KEY"].encode(), seconds.encode() + b"." + body, hashlib.sha256).hexdigest()
        genuine = hmac.compare_digest(given, right) and abs(time.time() - int(seconds)) < 300
        if genuine:
            print(body.decode(), flush=True)
        self.send_response(204 if genuine else 403)
        self.end_headers()

http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Receiver).serve_forever()
